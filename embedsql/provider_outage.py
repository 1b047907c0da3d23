"""Whether the provider of a model failed just now: a search that words do need not wait for it."""

from __future__ import annotations

import time

from embedsql.errors import ProviderError

PAUSE_SECONDS = 5.0  # a call that fails has spent some seconds on retries already


class ProviderOutage:
    """Remembers the last failure for a few seconds. Safe for threads."""

    def __init__(self) -> None:
        self._last: tuple[float, str] | None = None

    def note(self, error: Exception) -> None:
        """Remember it, if it is the provider's: other texts would fail, too."""
        if isinstance(error, ProviderError):
            self._last = time.monotonic(), str(error)

    @property
    def why(self) -> str | None:
        """What it said a moment ago; ``None``: it may be asked."""
        last = self._last
        return last[1] if last and time.monotonic() - last[0] < PAUSE_SECONDS else None
