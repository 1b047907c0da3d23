"""The triggers that append to an index's change log, and their functions."""

from __future__ import annotations

from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import CHANNEL
from embedsql.slots import Slots, dollar_quoted
from embedsql.spec import IndexSpec

EVENTS = ("insert", "bulk_insert", "update", "delete", "truncate")
# Rows that a transaction logs one by one as it inserts them; it leaves the rest to a backfill. That
# walks the whole table, perhaps millions of rows, so it must be worth it.
LOGGED_INSERTS = 1000
LOOK_BACK = 64  # log rows in which a change looks for one that has woken the workers

_file = partial(sqlfile.statement, __package__)
_script = partial(sqlfile.script, __package__)


def trigger_events(spec: IndexSpec, *, partitioned: bool) -> tuple[str, ...]:
    """The events for which the source has a trigger; where all are by row, no bulk inserts."""
    by_row = partitioned or spec.replicated
    return tuple(event for event in EVENTS if not (by_row and event == "bulk_insert"))


def trigger_statements(slots: Slots, *, partitioned: bool) -> list[sql.Composed]:
    """The functions, then the triggers that call them."""
    events = trigger_events(slots.spec, partitioned=partitioned)
    by_row = "bulk_insert" not in events
    statements = []
    for event in events:
        statements += _function(slots, event, by_row=by_row)
    fill = {"source": slots.source, "changed": _changed(slots), **trigger_names(slots)}
    if by_row:
        statements += _script("triggers_by_row.sql", **fill)
    else:
        few, many = _few_inserted(slots), _many_inserted(slots)
        statements += _script("triggers.sql", few_inserted=few, many_inserted=many, **fill)
    return statements + (_script("always.sql", **fill) if slots.spec.replicated else [])


def drop_triggers(slots: Slots) -> list[sql.Composed]:
    """Remove the triggers from the source; their functions stay."""
    return _script("drop_triggers.sql", source=slots.source, **trigger_names(slots))


def trigger_names(slots: Slots) -> dict[str, sql.Composable]:
    """``insert_trigger``, ``insert_function`` and so on, for every event."""
    found: dict[str, sql.Composable] = {}
    for event in EVENTS:
        found[f"{event}_trigger"] = sqlfile.identifier(slots.names.trigger(event))
        found[f"{event}_function"] = sqlfile.kit(slots.names.trigger_function(event))
    return found


def _function(slots: Slots, event: str, *, by_row: bool) -> list[sql.Composed]:
    body = _file(
        "body_delete_row.sql" if by_row and event == "delete" else f"body_{event}.sql",
        log=slots.log,
        row=slots.row,
        chunk=slots.chunk,
        chunk_name=sqlfile.literal(sqlfile.text(slots.chunk)),
        name=sqlfile.literal(slots.spec.name),
        generation=sqlfile.literal(slots.names.generation),
        key_columns=slots.key_columns,
        source_key=slots.source_key_of("c"),
        new_key=slots.qualified_key("NEW"),
        old_key=slots.qualified_key("OLD"),
        key_changed=_key_changed(slots),
        wake=_wake(slots) if event != "bulk_insert" else _notify(slots.spec),
    )
    return _script(
        "trigger_function.sql",
        function=sqlfile.kit(slots.names.trigger_function(event)),
        body=dollar_quoted(sqlfile.text(body)),
    )


def _key_changed(slots: Slots) -> sql.Composed:
    """Whether an update changed the key."""
    return sql.SQL(" OR ").join(
        _distinct(column.name, cast=not column.is_built_in) for column in slots.spec.key
    )


def _changed(slots: Slots) -> sql.Composed:
    """Whether an update changed the key or a text column.

    Cast to text: an operator of a type outside ``pg_catalog`` (citext, a domain's) cannot be
    written with its schema in ``IS DISTINCT FROM``, and a dump restores with an empty
    search_path. By bytes: to some collations a text equals its lower case.
    """
    texts = sql.SQL(" OR ").join(_distinct(name, cast=True) for name in slots.spec.watched)
    return sql.SQL("{} OR {}").format(_key_changed(slots), texts)


def _distinct(name: str, *, cast: bool) -> sql.Composed:
    suffix = sqlfile.raw('::pg_catalog.text COLLATE pg_catalog."C"' if cast else "")
    column = sqlfile.identifier(name)
    return sql.SQL("OLD.{}{} IS DISTINCT FROM NEW.{}{}").format(column, suffix, column, suffix)


def _few_inserted(slots: Slots) -> sql.Composed:
    """Whether an inserted row is logged one by one; counts the transaction's rows.

    The count is the length of a setting's value, a dot for each row: a setting ends with its
    transaction and is rolled back with its savepoint. At the limit the value becomes 'on', and
    CASE, which evaluates in order, never writes it again.
    """
    return sql.SQL(
        "CASE WHEN {many} THEN false ELSE pg_catalog.set_config({name}, CASE WHEN "
        "pg_catalog.length(pg_catalog.current_setting({name}, true)) >= {most} THEN 'on' "
        "ELSE pg_catalog.concat(pg_catalog.current_setting({name}, true), '.') END, true) "
        "<> 'on' END"
    ).format(
        many=_many_inserted(slots),
        name=sqlfile.literal(slots.names.inserted_setting),
        most=sqlfile.literal(LOGGED_INSERTS),
    )


def _many_inserted(slots: Slots) -> sql.Composed:
    """Whether a transaction has left inserted rows to a backfill."""
    return sql.SQL("pg_catalog.current_setting({}, true) IS NOT DISTINCT FROM 'on'").format(
        sqlfile.literal(slots.names.inserted_setting)
    )


def _wake(slots: Slots) -> sql.Composable:
    """A hint to idle workers, unless the log's last rows say that they have had one.

    NOTIFY makes commits wait for one another, so a busy table must not send one with each. The
    look back is bounded, whatever the log holds. A SERIALIZABLE transaction does not look, for it
    would conflict with whoever appends to the log, too.
    """
    if not slots.spec.notify:
        return sql.SQL("NULL;")
    return sql.SQL(
        "IF logged IS NOT NULL AND (current_setting('transaction_isolation') = 'serializable' "
        "OR NOT EXISTS (SELECT FROM {} WHERE seq >= logged - {} AND seq < logged)) "
        "THEN {} END IF;"
    ).format(slots.log, sqlfile.literal(LOOK_BACK), _notify(slots.spec))


def _notify(spec: IndexSpec) -> sql.Composable:
    if not spec.notify:
        return sql.SQL("NULL;")
    return sql.SQL("PERFORM pg_notify({}, {});").format(
        sqlfile.literal(CHANNEL), sqlfile.literal(spec.name)
    )
