"""What fills the slots of the ``.sql`` files where a chunk's words and their weights stand."""

from __future__ import annotations

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import quoted
from embedsql.slots import Slots


class WordSlots:
    """SQL fragments about the lexical lane of one index."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._spec = slots.spec

    @property
    def lexemes(self) -> sql.Composable:
        """The lexemes of a chunk and its heading; null where the index has no lexical lane."""
        if self._spec.lexical is None:
            return sql.SQL("NULL::tsvector")
        return sql.SQL("embedsql.chunk_lexemes({}, heading, chunk, titled)").format(
            self.configuration
        )

    @property
    def may_differ(self) -> sql.SQL:
        """Whether a chunk ``k`` may have other lexemes than one of equal content had."""
        if self._spec.lexical is None:  # there are none to find
            return sql.SQL("true")
        if self._spec.lexical_column is not None:  # the row may name another configuration now
            return sql.SQL("true")
        if self._spec.template is None and len(self._spec.text) > 1:  # and how much of it is title
            return sql.SQL("k.chunk_seq = 0")
        return sql.SQL("false")

    @property
    def configuration(self) -> sql.Composable:
        """The text-search configuration of a row ``k``: the declared one, or the row's own."""
        assert self._spec.lexical is not None
        declared = sql.SQL("{}::regconfig").format(sqlfile.literal(quoted(self._spec.lexical)))
        if self._spec.lexical_column is None:
            return declared
        return sql.SQL(
            "embedsql.configuration((SELECT s.{}::text FROM {} AS s WHERE {}), {})"
        ).format(
            sqlfile.identifier(self._spec.lexical_column),
            self._slots.source,
            self._slots.key_match("s", "k"),
            declared,
        )

    @property
    def average(self) -> sql.Composable:
        """The average length of a chunk, as a table of one row: ``average.length``."""
        return sql.SQL(
            "(SELECT (SELECT i.average_length FROM embedsql.semantic_index AS i "
            "WHERE i.name = {} AND i.generation = {}) AS length) AS average"
        ).format(sqlfile.literal(self._spec.name), sqlfile.literal(self._slots.names.generation))

    @property
    def terms(self) -> sql.Composable:
        """A chunk's weights: BM25's of its lexemes, or those that a sparse encoder gave.

        Null where the index has no lexical lane.
        """
        if self._spec.lexical is None:
            return sql.SQL("NULL::sparsevec")
        if self._spec.sparse_model is not None:
            return sql.SQL("given_terms::sparsevec")
        return sql.SQL("embedsql.bm25_weights(lexemes, average.length, {})").format(
            sqlfile.raw(repr(float(self._spec.heading_weight)))
        )
