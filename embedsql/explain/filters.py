"""Which condition leaves a row out: those of ``where``, and the question's own words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sqlalchemy import exists, func, literal, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import ColumnElement

from embedsql.explain.explanation import Reason
from embedsql.explain.statement import Key, Subject, run
from embedsql.search.bound import bound
from embedsql.search.query import Query
from embedsql.search.words import asked_words


def visibility(subject: Subject, key: Key) -> Reason | None:
    """Why the caller sees no such row; ``None``: it does."""
    source = subject.target.source
    there = exists(select(literal(1)).select_from(source.entity).where(key.matches(source.key)))
    table = source.table
    name = postgresql.dialect().identifier_preparer.format_table(table)  # type: ignore[no-untyped-call]
    guarded = func.row_security_active(literal(name))
    seen, policies = subject.session.execute(select(there, guarded)).one()
    if seen:
        return None
    if policies:
        return Reason(
            "absent_or_hidden",
            f"{name} has no row of this key, or its row-level security hides it from this role",
        )
    return Reason("absent", f"{name} has no row of this key")


def failed_conditions(
    subject: Subject, query: Query, key: Key, words: Sequence[str] | None
) -> Iterator[Reason]:
    """A reason for each condition that does not hold, each evaluated by itself."""
    if not query.where and not query.joins:
        return
    target = subject.target
    lines = subject.session.execute(
        select(*(condition.label(f"c{n}") for n, condition in enumerate(query.where)), literal(1))
        .select_from(target.joined(bound(target, query)))
        .where(key.matches(target.source.key))
    ).all()
    if not lines:
        yield Reason("filtered", "the tables that are joined have no row for it")
        return
    for place, condition in enumerate(query.where):
        values = [line[place] for line in lines]
        if not any(values):
            said = words[place] if words is not None else condition_text(condition)
            value = "unknown (null)" if values[0] is None else "false"
            details = {"condition": said, "value": values[0]}
            yield Reason("filtered", f"the condition {said} is {value} for it", details)


def failed_words(subject: Subject, query: Query, key: Key) -> Iterator[Reason]:
    """A reason for each word that the question requires in vain, or excludes and the row has."""
    asked = asked_words(query.text or "") if subject.target.lexical is not None else []
    if not asked:
        return
    lines = run(subject, "asked.sql", {"words": json.dumps(asked), **key.parameters})
    fine = True
    for line in lines:
        word, required, there = line["word"], line["required"], line["there"]
        if required and not there:
            fine = False
            yield Reason("lacks_word", f"no passage of it has {word}", {"word": word})
        elif there and not required:
            fine = False
            yield Reason("excluded_word", f"it is excluded by {word}", {"word": word})
    required_words = [line["word"] for line in lines if line["required"]]
    if fine and len(required_words) > 1 and not _passes(subject, query, key):
        said = ", ".join(required_words)
        yield Reason(
            "words_apart",
            f"it has {said}, but not in one passage",
            {"words": required_words},
        )


def condition_text(condition: ColumnElement[bool]) -> str:
    """A condition as SQL, with its values in place where they can be written so."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    try:
        return str(condition.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    except (CompileError, NotImplementedError):
        return str(condition.compile(dialect=dialect))


def _passes(subject: Subject, query: Query, key: Key) -> bool:
    target = subject.target
    own = target.source.key
    rows = select(literal(1)).select_from(target.source.entity)
    rows = rows.where(key.matches(own), *target.asked_of(own, bound(target, query)))
    return subject.session.execute(rows).first() is not None
