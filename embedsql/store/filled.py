"""The statements of this folder's ``.sql`` files that write, filled for one index."""

from __future__ import annotations

from psycopg import sql

from embedsql import sqlfile
from embedsql.inputs import Inputs
from embedsql.slots import Slots
from embedsql.vector_slots import STANDS, VectorSlots
from embedsql.word_slots import WordSlots


def filled(name: str, slots: Slots) -> sql.Composed:
    """The statement of a file of this folder, for one index."""
    vector, word = VectorSlots(slots), WordSlots(slots)
    return sqlfile.statement(
        __package__,
        name,
        log=slots.log,
        row=slots.row,
        chunk=slots.chunk,
        source=slots.source,
        input_hash=Inputs(slots.spec).hash,
        key_parameters=slots.key_parameters,
        key_columns=slots.key_columns,
        unnested_key=slots.unnested_key,
        row_of_claimed=slots.same_key("r", "c"),
        row_of_found=slots.same_key("r", "f"),
        chunk_of_key=slots.same_key("c", "k"),
        source_of_key=slots.key_match("s", "k"),
        key_match=slots.key_match("s", "c"),
        key_json=slots.key_json,
        lexemes=word.lexemes,
        lexical_column=sqlfile.identifier(slots.spec.lexical_column or ""),
        words_may_differ=word.may_differ,
        terms=word.terms,
        average=word.average,
        name=sqlfile.literal(slots.spec.name),
        generation=sqlfile.literal(slots.names.generation),
        vector_array=sqlfile.raw(f"{slots.spec.vectors.stored_as}[]"),
        vector_columns=vector.saved_columns,
        vector_values=vector.saved_values,
        vector_from=vector.saved_from,
        vector_updated=vector.updated,
        vector_kept=vector.kept,
        vector_given=vector.given,
        vector_is_own=vector.is_own,
        vector_may_differ=vector.may_differ,
        vector_differs=vector.differs,
        stands=sqlfile.raw(STANDS),
        column=vector.column,
    )
