"""A model change of one index, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any

from embedsql import status
from embedsql.database import connect
from embedsql.errors import ModelChangeError
from embedsql.evaluate import JudgedQuery
from embedsql.installation import require_installed
from embedsql.reembed import compare, filling, start
from embedsql.reembed.compare import Comparison
from embedsql.reembed.generations import Generations
from embedsql.reembed.stand_in import StandIn
from embedsql.reembed.switch import switch
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex
from embedsql.search import Mode
from embedsql.spec import IndexSpec
from embedsql.worker import WorkerOptions


class ModelChange:
    """Takes an index from one generation to the next; a context manager.

    Every step may be repeated, and goes on where another process was cut off.

    Args:
        conninfo: Where the database is.
        index: The index's name.
        options: Of the worker that is run here while no other lives.

    Raises:
        IndexNotFoundError: There is none of this name.
    """

    def __init__(
        self,
        conninfo: str,
        index: str,
        options: WorkerOptions | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._name = index
        self._options = options or WorkerOptions()
        self._connection = connect(conninfo, application_name="embedsql reembed")
        try:
            require_installed(self._connection)
            _ = self.generations
        except BaseException:
            self._connection.close()
            raise
        self._stand_in = StandIn(conninfo, self._options)

    def __enter__(self) -> ModelChange:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stand_in.__exit__()
        self._connection.close()

    @property
    def generations(self) -> Generations:
        """The index's generations, as they are now."""
        return Generations.of(self._connection, self._name)

    def begin(self, spec: IndexSpec, space: str | None = None) -> RegisteredIndex:
        """Make the next generation, by this declaration; or find it made already.

        Args:
            spec: The declaration.
            space: Label of the model's space, where it is known.

        Raises:
            ModelChangeError: Another change is under way, or nothing would change.
            DeclarationError: The source cannot carry the declaration.
        """
        return start.begin(self._connection, self._name, spec, space)

    def fill(self) -> None:
        """Wait until the next generation holds every row and has its vector index.

        Raises:
            ModelChangeError: There is none, or workers leave it alone.
        """
        following = self.generations.require_next()
        filling.fill(self._connection, following, self._stand_in)

    def compare(self, judged: Sequence[JudgedQuery] = (), mode: Mode | None = None) -> Comparison:
        """Compare the next generation with the one that serves, and keep what was found.

        Args:
            judged: Queries whose right answers are known.
            mode: Which lanes are judged. ``None``: of each generation the best that it has.

        Raises:
            ModelChangeError: There is no next generation.
            ConfigurationError: A model cannot be loaded in this process.
        """
        both = self.generations
        following = both.require_next()
        sample = compare.sample_chunks(self._connection, both.serving)
        with self._search(both.serving) as serving, self._search(following) as other:
            found = compare.compare(serving, other, sample, judged, mode)
        compare.record(self._connection, following, found)
        return found

    def accept(self) -> None:
        """Take the next generation for ready without a comparison.

        Raises:
            ModelChangeError: There is none.
        """
        compare.record(self._connection, self.generations.require_next(), None)

    def switch(self, *, force: bool = False, patience: float = 60) -> None:
        """Let the next generation serve; the one before is kept, and fed.

        Args:
            force: Although rows are dead letters, or it does not keep up.
            patience: Seconds to wait for a moment in which nothing is lost.

        Raises:
            ModelChangeError: There is no next generation, it is not ready, or it would lose rows.
        """
        both = self.generations
        following = both.require_next()
        if following.state == "building":
            raise ModelChangeError(f"{following.label} is still being built")
        switch(
            self._connection,
            following,
            both.serving,
            self._stand_in,
            force=force,
            patience=patience,
        )

    def rollback(self, *, force: bool = False, patience: float = 60) -> None:
        """Let the generation before serve again; the other one is kept, and fed.

        Args:
            force: See ``switch``.
            patience: See ``switch``.

        Raises:
            ModelChangeError: No generation before is kept, or it would lose rows.
        """
        both = self.generations
        switch(
            self._connection,
            both.require_previous(),
            both.serving,
            self._stand_in,
            force=force,
            patience=patience,
        )

    def finish(self) -> None:
        """Drop the generation before the one that serves.

        Raises:
            ModelChangeError: None is kept.
        """
        both = self.generations
        if both.previous is not None or not both.dropping:
            start.remove(self._connection, both.require_previous())
        self._sweep(both)

    def abort(self) -> None:
        """Drop the next generation, which never serves then.

        Raises:
            ModelChangeError: There is none.
        """
        both = self.generations
        if both.next is not None or not both.dropping:
            start.remove(self._connection, both.require_next())
        self._sweep(both)

    def status(self) -> dict[str, Any]:
        """The generations and how far they are, as JSON values."""
        both = self.generations
        others = [
            asdict(one) for one in status.model_changes(self._connection) if one.index == self._name
        ]
        by_number = {one["generation"]: one for one in others}
        for one in (both.next, both.previous, *both.dropping):
            if one is not None:
                by_number[one.generation] |= {
                    "model": one.spec.model,
                    "vector": one.spec.vector_type,
                    "comparison": compare.recorded(self._connection, one),
                }
        return {
            "index": self._name,
            "serving": {
                "generation": both.serving.generation,
                "model": both.serving.spec.model,
                "vector": both.serving.spec.vector_type,
            },
            "next": both.next and by_number[both.next.generation],
            "previous": both.previous and by_number[both.previous.generation],
            "dropping": [by_number[one.generation] for one in both.dropping],
        }

    def _sweep(self, both: Generations) -> None:
        for one in both.dropping:
            start.remove(self._connection, one)

    def _search(self, index: RegisteredIndex) -> RegisteredSearch:
        return RegisteredSearch(
            self._conninfo,
            self._name,
            api_key=self._options.api_key,
            generation=index.generation,
        )
