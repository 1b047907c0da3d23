"""How a worker waits for a database that went away, or that takes connections and no work."""

from __future__ import annotations

import random
import threading
import time

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0  # a server that is back is not left waiting
MOST_SECONDS = 60.0  # how long a drain tries before it gives up


class Outage:
    """The time since the last round of work that came to its end.

    Args:
        stopping: Set when the worker is to end, instead of waiting.
        bounded: Whether to give up after a minute.
    """

    def __init__(self, stopping: threading.Event, *, bounded: bool) -> None:
        self._stopping = stopping
        self._bounded = bounded
        self.is_over()

    def is_over(self) -> None:
        """A round came to its end."""
        self._since: float | None = None
        self._pause = 0.0

    def wait_out(self, error: Exception) -> None:
        """Before another connection: the first at once, the next after ever longer pauses.

        Args:
            error: What there was instead of work; raised where it is in vain to wait.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        late = self._bounded and now - self._since > MOST_SECONDS
        if late or self._stopping.wait(self._pause * random.uniform(0.5, 1.0)):
            raise error
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
