"""The views that searches and people read, and how they pass from one generation to another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import ObjectNames
from embedsql.slots import Slots

_script = partial(sqlfile.script, __package__)


def serving_statements(slots: Slots) -> list[sql.Composed]:
    """Make the views of an index's first generation."""
    return _script("serving.sql", chunk_view=slots.chunk_view, **_views(slots))


def take_over_statements(slots: Slots, *, in_place: bool) -> list[sql.Composed]:
    """Let the views show another generation: replaced where columns and types agree, else anew."""
    fill: dict[str, sql.Composable] = {
        "name": sqlfile.literal(slots.spec.name),
        "generation": sqlfile.literal(slots.names.generation),
        "chunk_view": slots.chunk_view,
        **_views(slots),
    }
    if in_place:
        return _script("serve_in_place.sql", **fill)
    return _script("serve_instead.sql", **fill, **_passing_views(slots))


def drop_serving_statements(slots: Slots) -> list[sql.Composed]:
    """Remove the views, then what other generations have made."""
    generation = sqlfile.literal(slots.names.generation)
    name = sqlfile.literal(slots.spec.name)
    return drop_views(slots) + _script("drop_others.sql", name=name, generation=generation)


def drop_views(slots: Slots) -> list[sql.Composed]:
    """Remove the views."""
    return _script("drop_views.sql", index_view=slots.index_view, serving_view=slots.serving_view)


def copy_grants_statements(slots: Slots, like: ObjectNames) -> list[sql.Composed]:
    """Give a generation's objects the privileges that those of another have."""
    fill = {}
    for kind in ("log", "batch", "row", "chunk", "chunk_view"):
        fill[f"model_{kind}"] = _text(sqlfile.kit(getattr(like, kind)))
        fill[f"{kind}_text"] = _text(getattr(slots, kind))
    return _script("copy_grants.sql", **fill)


def keep_grants(slots: Slots, instead: str) -> list[sql.Composed]:
    """Keep the privileges on an index's objects, which the same session is about to drop."""
    kept = ObjectNames(instead).kept_grants
    name = sqlfile.identifier(kept)
    return _script("keep_grants.sql", kept=_temporary(kept), kept_name=name, **_granted(slots))


def grant_again(slots: Slots, policies: Sequence[str]) -> list[sql.Composed]:
    """Give the privileges that were kept on the objects that were made instead.

    Args:
        slots: Those objects.
        policies: What hides rows of them; run first, where rows of the old ones were hidden.
    """
    hiding = sqlfile.comma(map(sqlfile.literal, policies))
    kept = _temporary(slots.names.kept_grants)
    return _script("grant_again.sql", kept=kept, **_granted(slots), policies=hiding)


def _granted(slots: Slots) -> dict[str, sql.Composable]:
    own = (slots.log, slots.batch, slots.row, slots.chunk, slots.chunk_view)
    relations = (*own, slots.serving_view, slots.index_view)
    # the search function has the view's name
    return {
        "relations": sqlfile.comma(map(_text, relations)),
        "search_function": _text(slots.index_view),
    }


def _views(slots: Slots) -> dict[str, sql.Composable]:
    spec = slots.spec
    comment = f"chunks and vectors of {spec.schema}.{spec.table}, kept by embedsql"
    return {
        "serving_view": slots.serving_view,
        "index_view": slots.index_view,
        "source": slots.source,
        "view_key": slots.source_key_of("s"),
        "key_match": slots.key_match("s", "c"),
        "view_comment": sqlfile.literal(comment),
    }


def _passing_views(slots: Slots) -> dict[str, sql.Composable]:
    spec, names = slots.spec, slots.names
    serving = sqlfile.kit(names.next(names.serving_view))
    index = sqlfile.identifier(spec.schema, names.next(spec.name))
    return {
        "next_serving_view": serving,
        "next_index_view": index,
        "next_serving_view_text": _text(serving),
        "next_index_view_text": _text(index),
        "serving_view_text": _text(slots.serving_view),
        "index_view_text": _text(slots.index_view),
        "serving_view_name": sqlfile.identifier(names.serving_view),
        "index_view_name": sqlfile.identifier(spec.name),
    }


def _temporary(table: str) -> sql.Identifier:
    return sqlfile.identifier("pg_temp", table)


def _text(name: sql.Identifier) -> sql.Literal:
    """A quoted name, as a value."""
    return sqlfile.literal(sqlfile.text(name))
