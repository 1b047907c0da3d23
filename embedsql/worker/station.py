"""Where models run: a thread for each provider, so that one's trouble is nobody else's."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from embedsql.errors import ConfigurationError, ProviderError
from embedsql.worker.lane import FIRST_PAUSE, LONGEST_PAUSE, Work
from embedsql.worker.writer import Writer

log = logging.getLogger(__name__)


class Station:
    """Embeds one batch while the next is ready, what changed before what is backfilled.

    A changed row need not wait for a large batch of a backfill: it is embedded between two calls
    of the model.

    Args:
        provider: Who runs the models.
        writer: Takes the batches that are done, and those to be given back.
        woken: Called when there is room again.

    Attributes:
        crash: What ended the thread, if it was not told to.
        trouble: What the provider said last instead of vectors.
    """

    def __init__(self, provider: str, writer: Writer, woken: Callable[[], None]) -> None:
        self.crash: BaseException | None = None
        self.trouble: str | None = None
        self._provider = provider
        self._writer = writer
        self._woken = woken
        self._changed: Work | None = None
        self._backfill: Work | None = None
        self._closed = False
        self._not_before = 0.0
        self._pause = FIRST_PAUSE
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"embedsql-{provider}", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Whether the provider is not to be left alone just now."""
        return time.monotonic() >= self._not_before

    def has_room(self, *, backfill: bool) -> bool:
        """Whether a batch of this kind may be given."""
        return (self._backfill if backfill else self._changed) is None

    def give(self, work: Work, *, backfill: bool) -> None:
        """The next batch of its kind; there must be room."""
        with self._news:
            if backfill:
                self._backfill = work
            else:
                self._changed = work
            self._news.notify()

    def close(self) -> None:
        """End after the call of the model that runs; the rest is given back."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()

    def rest(self, error: ProviderError) -> None:
        """Leave the provider alone for a while, longer each time."""
        seconds = error.retry_after or self._pause * random.uniform(0.75, 1.25)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._not_before = time.monotonic() + seconds
        self.trouble = str(error)
        log.warning("%s is left alone for %.1f s: %s", self._provider, seconds, error)

    def _run(self) -> None:
        try:
            while not self._closed:
                # in turn: changes that never end must not starve a backfill
                if (work := self._take_changed()) is not None:
                    self._embed(work, lambda: self._closed)
                if (work := self._take_backfill()) is not None:
                    self._embed(work, self._after_what_changed)
                with self._news:
                    self._news.wait_for(self._has_news)
        except BaseException as error:  # the main thread sees it and ends the worker
            self.crash = error
            self._woken()
        self._give_rest_back()

    def _has_news(self) -> bool:
        return self._closed or not (self._changed is None and self._backfill is None)

    def _after_what_changed(self) -> bool:
        """A batch between two calls of the model for a backfill; whether to stop there."""
        if not self._closed and (work := self._take_changed()) is not None:
            self._embed(work, lambda: self._closed)
        return self._closed

    def _embed(self, work: Work, stopping: Callable[[], bool]) -> None:
        try:
            work.lane.embed(work, stopping)
        except ProviderError as error:
            self.rest(error)
            self._writer.give_back(work)
            self._give_rest_back()
        except ConfigurationError as error:
            self._writer.problems.put((work.lane.index, str(error)))
            self._writer.give_back(work)
        else:
            self._pause = FIRST_PAUSE
            self.trouble = None
            self._writer.write(work)

    def _take_changed(self) -> Work | None:
        with self._news:
            work, self._changed = self._changed, None
        if work is not None:
            self._woken()
        return work

    def _take_backfill(self) -> Work | None:
        with self._news:
            work, self._backfill = self._backfill, None
        if work is not None:
            self._woken()
        return work

    def _give_rest_back(self) -> None:
        for work in (self._take_changed(), self._take_backfill()):
            if work is not None:
                self._writer.give_back(work)
