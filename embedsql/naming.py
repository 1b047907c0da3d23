"""Names of the database objects that one semantic index owns. Spelled here and nowhere else.

The view and the function of an index carry the index's own name and stand beside the source
table; everything else is in the kit's schema, so that dropping, granting and dumping are simple.
Each generation of an index (one build of its tables, for one space) has objects of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

SCHEMA = "embedsql"
CHANNEL = "embedsql"
QUERY_CHANNEL = "embedsql_query"
MAX_BYTES = 63  # PostgreSQL cuts longer identifiers silently, so that two could become one


def bounded(stem: str, suffix: str) -> str:
    """``stem_suffix``, in at most 63 bytes; a stem that must be cut gets a digest of its whole."""
    name = f"{stem}_{suffix}"
    if len(name.encode()) <= MAX_BYTES:
        return name
    digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
    room = MAX_BYTES - len(suffix.encode()) - len(digest) - 2
    kept = stem.encode()[:room].decode(errors="ignore")
    return f"{kept}_{digest}_{suffix}"


def quoted(name: str) -> str:
    """A name in double quotes, as ``regconfig`` and the like read it: ``my config`` is one name."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class ObjectNames:
    """The names of one index's objects; see the module docstring for where they stand."""

    index: str
    generation: int = 1

    @property
    def log(self) -> str:
        """Change log: the keys that may have changed."""
        return bounded(self.index, self._numbered("log"))

    @property
    def batch(self) -> str:
        """Batches: claimed keys under one lease."""
        return bounded(self.index, self._numbered("batch"))

    @property
    def row(self) -> str:
        """One row for each source row that has been dealt with: what was embedded of it."""
        return bounded(self.index, f"row_{self.generation}")

    @property
    def chunk(self) -> str:
        """Chunks and their vectors."""
        return bounded(self.index, f"chunk_{self.generation}")

    @property
    def chunk_view(self) -> str:
        """View of this generation's chunks: what a search that is pinned to it reads."""
        return bounded(self.index, f"chunk_{self.generation}_view")

    @property
    def serving_view(self) -> str:
        """View of the serving generation's chunks: what every other search reads."""
        return bounded(self.index, "chunk")

    @property
    def pending(self) -> str:
        """Function that reads the rows which wait to be embedded: their current text."""
        return bounded(self.index, "pending")

    @property
    def kept_roles(self) -> str:
        """Temporary table: who can work or search, while the index is made anew."""
        return bounded(self.index, "kept_roles")

    @property
    def kept_grants(self) -> str:
        """Temporary table: what roles may do with its objects, while the index is made anew."""
        return bounded(self.index, "kept_grants")

    def next(self, view: str) -> str:
        """Passing name of a view that is about to take the place of ``view``."""
        return bounded(view, f"next_{self.generation}")

    @property
    def vector_index(self) -> str:
        """The approximate nearest-neighbour index on the chunks' vectors."""
        return bounded(self.index, f"chunk_{self.generation}_ann")

    @property
    def lexeme_index(self) -> str:
        """The GIN index on the chunks' lexemes."""
        return bounded(self.index, f"chunk_{self.generation}_lexemes")

    @property
    def term_index(self) -> str:
        """The approximate index on the chunks' lexical weights."""
        return bounded(self.index, f"chunk_{self.generation}_terms")

    @property
    def content_index(self) -> str:
        """The index that finds an equal text's vector."""
        return bounded(self.index, f"chunk_{self.generation}_content")

    def trigger(self, event: str) -> str:
        """Trigger on the source table; for ``event`` see ``ddl.EVENTS``.

        An event is one word in it: the bulk inserts of ``x`` are not the inserts of ``x_bulk``.
        """
        return bounded(f"embedsql_{self.index}", self._numbered(event.replace("_", "")))

    @property
    def inserted_setting(self) -> str:
        """Setting in which a transaction counts the rows that it inserted."""
        digest = hashlib.sha256(self.index.encode()).hexdigest()[:8]
        return f"{SCHEMA}.{self._numbered(f'inserted_{digest}')}"

    def trigger_function(self, event: str) -> str:
        """The function of that trigger."""
        return bounded(self.index, self._numbered(f"on_{event}"))

    def _numbered(self, suffix: str) -> str:
        """A suffix that is another in every generation; the first's is plain."""
        return suffix if self.generation == 1 else f"{suffix}_{self.generation}"


def key_columns(count: int) -> list[str]:
    """The key's columns in our own tables: ``key_1``, ``key_2``, ...

    Whatever the source calls them, so that one named ``chunk`` collides with nothing.
    """
    return [f"key_{position}" for position in range(1, count + 1)]
