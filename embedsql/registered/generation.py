"""The generation of an index that is searched, with its model: another once it was switched."""

from __future__ import annotations

from functools import cached_property

from embedsql.database import connect
from embedsql.embedders import Embedder, load_embedder, options_of
from embedsql.embedders.query_vectors import QueryVectors
from embedsql.errors import IndexNotFoundError
from embedsql.installation import require_installed
from embedsql.registry import RegisteredIndex, find_generations, find_index
from embedsql.search import SearchTuning
from embedsql.search.target import Target, registered_target
from embedsql.stored_tuning import stored_tuning


class SearchedGeneration:
    """What the registry says of it.

    Args:
        conninfo: Where the database is.
        index: The index's name.
        api_key: For an ``openai:`` model.
        number: This one. ``None``: the one that serves, also after it was switched.

    Attributes:
        index: As it is registered.
        tuning: What the registry keeps of query-time settings, for searches that name none.

    Raises:
        IndexNotFoundError: There is none of this name.
    """

    def __init__(self, conninfo: str, index: str, api_key: str | None, number: int | None) -> None:
        self._conninfo = conninfo
        self._name = index
        self._api_key = api_key
        self._number = number
        self.tuning = SearchTuning()
        self.index = self._registered()

    @cached_property
    def embedder(self) -> Embedder:
        """Its model."""
        return load_embedder(
            self.index.spec.model, options_of(self.index.spec, api_key=self._api_key)
        )

    @cached_property
    def query_vectors(self) -> QueryVectors:
        """What that made of queries asked of late."""
        return QueryVectors(self.embedder)

    @cached_property
    def target(self) -> Target:
        """What a search of it reads."""
        return registered_target(self.index.spec, generation=self._number)

    def was_switched(self) -> bool:
        """Whether another serves than the one last searched; if so, it is taken."""
        now = self._registered()
        if now.index_id == self.index.index_id:
            return False
        self.index = now
        for made in ("embedder", "query_vectors", "target"):
            self.__dict__.pop(made, None)
        return True

    def _registered(self) -> RegisteredIndex:
        with connect(self._conninfo) as connection:
            require_installed(connection)
            if self._number is None:
                self.tuning = SearchTuning.kept(stored_tuning(connection, self._name))
                return find_index(connection, self._name)
            for one in find_generations(connection, self._name):
                if one.generation == self._number and one.state != "dropping":
                    return one
        raise IndexNotFoundError(f"{self._name!r} has no generation {self._number}")
