"""The functions of each index.

One is named as the index: search from psql and every other language, ``SELECT * FROM
article_search('how do I get back into my account', 10)``. One reads the rows that wait to be
embedded, for every search (``pending``). They run as their caller, so privileges and row-level
security hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import get_type_hints

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import ObjectNames
from embedsql.search import Hit, SearchTuning
from embedsql.search.query import Mode
from embedsql.slots import Slots, dollar_quoted
from embedsql.spec import IndexSpec
from embedsql.sqlsearch.pending import pending_fill
from embedsql.sqlsearch.template import SearchTemplate, search_template

__all__ = ["drop_function_statements", "function_statements"]

COMMENT = "rows found by meaning and words, best first; made by embedsql"
ARGUMENTS = ("query", "k", "mode", "vector", "wait_ms", "terms")
# SQL types of a hit's values in the function's result; all others are text
_TYPES = {float: "double precision", int: "int", bool: "boolean"}

_NOTHING = sql.SQL("BEGIN RETURN; END").format()
# Whether the mode served is all that was asked for: $3 is the mode, $1 the text, which if empty
# asks for no words.
_ASKED_FOR: dict[Mode, str] = {
    "hybrid": "true",
    "dense": r"($3 = 'dense' OR $1 IS NULL OR $1 !~ '\S')",
    "lexical": "$3 = 'lexical'",
}

_file = partial(sqlfile.statement, __name__)
_script = partial(sqlfile.script, __name__)


def function_statements(
    spec: IndexSpec, names: ObjectNames | None = None, tuning: SearchTuning | None = None
) -> list[str]:
    """The statements that make an index's functions, or make them anew.

    Its tables, and pgvector on the search_path, must be there.

    Args:
        spec: The declaration.
        names: Of the generation that serves. ``None``: the first.
        tuning: Query-time settings that the registry keeps for it. ``None``: the defaults.
    """
    return _texts([*_pending(Slots(spec, names)), *_search(spec, tuning or SearchTuning())])


def drop_function_statements(spec: IndexSpec) -> list[str]:
    """The statements that remove an index's functions; before its view and tables go."""
    found = _file(
        "drop_body.sql",
        schema=sqlfile.literal(spec.schema),
        name=sqlfile.literal(spec.name),
        comment=sqlfile.literal(COMMENT),
    )
    function = _script("drop.sql", body=_quoted(found))
    return _texts([*function, *_script("drop_pending.sql", pending=Slots(spec).pending)])


def _pending(slots: Slots) -> list[sql.Composed]:
    if slots.spec.lexical is None:  # a generation before may have had a lexical lane
        return _script("drop_pending.sql", pending=slots.pending)
    # with a sparse encoder it finds nothing, and is there for who still searches by an earlier
    # declaration
    finds = slots.spec.finds_pending
    body = _file("pending_body.sql", **pending_fill(slots)) if finds else _NOTHING
    return _script(
        "pending.sql",
        pending=slots.pending,
        key_types=slots.key_types,
        body=_quoted(body),
        comment=sqlfile.literal("rows that wait to be embedded, as they are now"),
        pin=_pin(slots.spec, sql.SQL("{}()").format(slots.pending)),
    )


def _search(spec: IndexSpec, tuning: SearchTuning) -> list[sql.Composed]:
    modes: list[Mode] = ["hybrid", "dense", "lexical"] if spec.lexical else ["dense"]
    function = sqlfile.identifier(spec.schema, spec.name)
    named = {name: sqlfile.identifier(_beside_key(spec, name)) for name in ARGUMENTS}
    signature = sql.SQL("{}(text, int, text, vector, int, sparsevec)").format(function)
    return _script(
        "function.sql",
        function=function,
        **named,
        default_mode=sqlfile.literal(modes[0]),
        columns=_result_columns(spec, search_template(spec, modes[0], tuning)),
        body=_quoted(_body(spec, modes, tuning)),
        comment=sqlfile.literal(COMMENT),
        pin=_pin(spec, signature),
    )


def _pin(spec: IndexSpec, signature: sql.Composable) -> sql.SQL:
    """The body that fixes a function's search_path."""
    return _quoted(
        _file(
            "pin.sql",
            signature=_name(signature),
            source=_name(sqlfile.identifier(spec.schema, spec.table)),
            schema=_name(sqlfile.identifier(spec.schema)),
        )
    )


def _body(spec: IndexSpec, modes: Sequence[Mode], tuning: SearchTuning) -> sql.Composed:
    branches: list[sql.Composed] = []
    for mode in modes:
        plain = search_template(spec, mode, tuning)
        strict = search_template(spec, mode, tuning, operators=True)
        if strict != plain:
            branches.append(_branch(spec, mode, strict, "$1 ~ '[-+\"]'"))
        branches.append(_branch(spec, mode, plain))
    return _file("body.sql", index=sqlfile.literal(spec.name), branches=sql.SQL("").join(branches))


def _branch(
    spec: IndexSpec, mode: Mode, template: SearchTemplate, condition: str = "true"
) -> sql.Composed:
    """One mode's statement, its columns renamed by place and cast to those of the function."""
    key = [f"embedsql_key_{place}" for place in range(1, len(spec.key) + 1)]
    hit = [f"embedsql_{name}" for name in template.hit]
    cast: list[sql.Composable] = [
        sql.SQL("found.{}::{}").format(sqlfile.identifier(name), sqlfile.raw(kind))
        for name, kind in zip(
            [*key, *hit], [column.type for column in spec.key] + _hit_types(template), strict=True
        )
    ]
    strategy = sql.SQL("coalesce(found.embedsql_strategy, 'lexical')")
    cast[len(key) + template.hit.index("strategy")] = strategy
    # as ``Found.complete`` in Python: false where a hybrid search fell back to words only
    complete = sql.SQL("(count(*) OVER () = $2 OR {} <> 'ann') AND {}").format(
        strategy, sqlfile.raw(_ASKED_FOR[mode])
    )
    return _file(
        "branch.sql",
        mode=sqlfile.literal(mode),
        condition=sqlfile.raw(condition),
        columns=sqlfile.comma([*cast, complete]),
        statement=sqlfile.raw(template.sql),
        found=sqlfile.comma(sqlfile.identifier(name) for name in [*key, *hit]),
    )


def _result_columns(spec: IndexSpec, template: SearchTemplate) -> sql.Composed:
    """``"id" bigint, "score" double precision, …``"""
    names = [column.name for column in spec.key]
    names += [_beside_key(spec, name) for name in (*template.hit, "complete")]
    types = [column.type for column in spec.key] + [*_hit_types(template), "boolean"]
    return sqlfile.comma(
        sql.SQL("{} {}").format(sqlfile.identifier(name), sqlfile.raw(kind))
        for name, kind in zip(names, types, strict=True)
    )


def _hit_types(template: SearchTemplate) -> list[str]:
    hints = get_type_hints(Hit)
    return [
        next((sql_type for kind, sql_type in _TYPES.items() if _is(hints[name], kind)), "text")
        for name in template.hit
    ]


def _is(hint: object, kind: type) -> bool:
    return hint is kind or hint == kind | None


def _beside_key(spec: IndexSpec, name: str) -> str:
    """A name of ours; with an underscore where a column of the key has it already."""
    taken = {column.name for column in spec.key}
    while name in taken:
        name += "_"
    return name


def _quoted(body: sql.Composed) -> sql.SQL:
    return dollar_quoted(sqlfile.text(body))


def _name(quoted: sql.Composable) -> sql.Literal:
    """A quoted name as a value: ``'"public"."article"'``."""
    return sqlfile.literal(sqlfile.text(quoted))


def _texts(statements: list[sql.Composed]) -> list[str]:
    return [sqlfile.text(statement) for statement in statements]
