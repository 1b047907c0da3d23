"""What fills the function that reads the rows which wait to be embedded, as they are now.

A search reads no more than a bounded part of them: the rows that changed last, and the beginning
of each. They are read as chunks are (title, template, configuration), each row as one chunk.
"""

from __future__ import annotations

from psycopg import sql

from embedsql import sqlfile
from embedsql.inputs import Inputs
from embedsql.slots import Slots
from embedsql.word_slots import WordSlots

MOST_ROWS = 50
MOST_CHARACTERS = 2000  # of each text column


def pending_fill(slots: Slots) -> dict[str, sql.Composable]:
    """The slots of ``pending_body.sql``."""
    spec = slots.spec
    inputs = Inputs(spec, most=MOST_CHARACTERS)
    heading: sql.Composable = sql.SQL("''::text")
    titled: sql.Composable = sql.SQL("0")
    if spec.template is not None:
        heading = _joined(inputs)
    elif inputs.context_columns:  # the text begins with its title
        titled = sql.SQL("length({})").format(_joined(inputs))
    return {
        "key_columns": slots.key_columns,
        "changed_key": slots.own_key_of("k"),
        "made_key": slots.own_key_of("m"),
        "key_match": slots.key_match("s", "k"),
        "log": slots.log,
        "log_name": sqlfile.literal(slots.names.log),
        "source": slots.source,
        "name": sqlfile.literal(spec.name),
        "text": inputs.text,
        "heading": heading,
        "titled": titled,
        "configuration": WordSlots(slots).configuration,
        "heading_weight": sqlfile.raw(repr(float(spec.heading_weight))),
        "most_rows": sqlfile.literal(MOST_ROWS),
    }


def _joined(inputs: Inputs) -> sql.Composed:
    return sql.SQL(r"array_to_string({}, E'\n\n')").format(inputs.context)
