"""What fills the slots of the ``.sql`` files for one index: its identifiers and key lists.

The only place that knows how the source's key columns (``id``) and ours (``key_1``) correspond.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from psycopg import sql

from embedsql import sqlfile
from embedsql.naming import ObjectNames, key_columns
from embedsql.spec import IndexSpec


class Slots:
    """SQL fragments for ``spec``, in ``names``' generation."""

    def __init__(self, spec: IndexSpec, names: ObjectNames | None = None) -> None:
        self.spec = spec
        self.names = names or spec.names
        self.own_key = key_columns(len(spec.key))
        self.log = sqlfile.kit(self.names.log)
        self.batch = sqlfile.kit(self.names.batch)
        self.row = sqlfile.kit(self.names.row)
        self.chunk = sqlfile.kit(self.names.chunk)
        self.chunk_view = sqlfile.kit(self.names.chunk_view)
        self.serving_view = sqlfile.kit(self.names.serving_view)
        self.pending = sqlfile.kit(self.names.pending)
        self.index_view = sqlfile.identifier(spec.schema, spec.name)
        self.source = sqlfile.identifier(spec.schema, spec.table)

    @property
    def lock_source(self) -> sql.Composed:
        """Comes before any other lock in a transaction of ours.

        A user's TRUNCATE locks the source, then our tables in its trigger: in the other order, the
        two could deadlock.
        """
        return sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(self.source)

    @cached_property
    def key_columns(self) -> sql.Composed:
        """``key_1, key_2``"""
        return sqlfile.comma(sqlfile.identifier(name) for name in self.own_key)

    @cached_property
    def key_definitions(self) -> sql.Composed:
        """``key_1 bigint NOT NULL, key_2 uuid NOT NULL``"""
        return sqlfile.comma(
            sql.SQL("{} {} NOT NULL").format(sqlfile.identifier(own), sqlfile.raw(column.type))
            for own, column in zip(self.own_key, self.spec.key, strict=True)
        )

    @cached_property
    def key_types(self) -> sql.Composed:
        """``key_1 bigint, key_2 uuid``"""
        return sqlfile.comma(
            sql.SQL("{} {}").format(sqlfile.identifier(own), sqlfile.raw(column.type))
            for own, column in zip(self.own_key, self.spec.key, strict=True)
        )

    @cached_property
    def key_arrays(self) -> sql.Composed:
        """``keys_1 bigint[] NOT NULL, …``: the batch table's columns."""
        return sqlfile.comma(
            sql.SQL("{} {}[] NOT NULL").format(
                sqlfile.identifier(own.replace("key", "keys")), sqlfile.raw(column.type)
            )
            for own, column in zip(self.own_key, self.spec.key, strict=True)
        )

    @cached_property
    def uncompressed_arrays(self) -> sql.Composed:
        """``ALTER COLUMN keys_1 SET STORAGE EXTERNAL, …``"""
        return sqlfile.comma(
            sql.SQL("ALTER COLUMN {} SET STORAGE EXTERNAL").format(
                sqlfile.identifier(own.replace("key", "keys"))
            )
            for own in self.own_key
        )

    @cached_property
    def array_columns(self) -> sql.Composed:
        """``keys_1, keys_2``"""
        return sqlfile.comma(sqlfile.identifier(own.replace("key", "keys")) for own in self.own_key)

    @cached_property
    def returned_arrays(self) -> sql.Composed:
        """``keys_1::text[], keys_2::text[]``: a batch's keys, as results."""
        return sqlfile.comma(
            sql.SQL("{}::text[]").format(sqlfile.identifier(own.replace("key", "keys")))
            for own in self.own_key
        )

    def arrays_of(self, table: str) -> sql.Composed:
        """``b.keys_1, b.keys_2``"""
        return sqlfile.comma(
            sqlfile.identifier(table, own.replace("key", "keys")) for own in self.own_key
        )

    @cached_property
    def aggregated_key(self) -> sql.Composed:
        """``array_agg(key_1 ORDER BY place), …``"""
        return sqlfile.comma(
            sql.SQL("array_agg({} ORDER BY place)").format(sqlfile.identifier(own))
            for own in self.own_key
        )

    @cached_property
    def key_parameters(self) -> sql.Composed:
        """``%(key_1)s::text[]::bigint[], …``: a batch's keys, as parameters.

        Keys travel as text: the driver knows no arrays of enums, domains or citext.
        """
        return sqlfile.comma(
            sql.SQL("{}::text[]::{}[]").format(sql.Placeholder(own, "b"), sqlfile.raw(column.type))
            for own, column in zip(self.own_key, self.spec.key, strict=True)
        )

    @cached_property
    def unnested_key(self) -> sql.Composed:
        """``unnest(%(key_1)s::text[]::bigint[]) AS key_1, …``: the same, as columns of a query."""
        return sqlfile.comma(
            sql.SQL("unnest({}::text[]::{}[]) AS {}").format(
                sql.Placeholder(own, "b"), sqlfile.raw(column.type), sqlfile.identifier(own)
            )
            for own, column in zip(self.own_key, self.spec.key, strict=True)
        )

    def source_key_as_own(self, row: str) -> sql.Composed:
        """``s.id AS key_1``"""
        return sqlfile.comma(
            sql.SQL("{} AS {}").format(
                sqlfile.identifier(row, column.name), sqlfile.identifier(own)
            )
            for own, column in zip(self.own_key, self.spec.key, strict=True)
        )

    def source_key_of(self, row: str) -> sql.Composed:
        """``s.id``: the key as the source names it."""
        return sqlfile.comma(sqlfile.identifier(row, column.name) for column in self.spec.key)

    def qualified_key(self, row: str) -> sql.Composed:
        """``NEW.id``: the source's key in a trigger's row."""
        return sqlfile.comma(
            sqlfile.raw(f"{row}.") + sqlfile.identifier(column.name) for column in self.spec.key
        )

    def key_match(self, source: str, own: str) -> sql.Composed:
        """``s.id = c.key_1``: the source row of one of our rows."""
        return sqlfile.conjunction(
            sql.SQL("{} = {}").format(
                sqlfile.identifier(source, column.name), sqlfile.identifier(own, name)
            )
            for name, column in zip(self.own_key, self.spec.key, strict=True)
        )

    @cached_property
    def key_texts(self) -> sql.Composed:
        """``key_1::text, key_2::text``"""
        return sqlfile.comma(
            sql.SQL("{}::text").format(sqlfile.identifier(own)) for own in self.own_key
        )

    def ordered_key(self, source: str, own_order: Sequence[bool]) -> sql.Composed:
        """``s.id``: the key in an order that is the same for ``ORDER BY`` and ``>``.

        An operator of a type outside ``pg_catalog`` may not be in the search_path, and what is
        found in its place may order otherwise: such keys are ordered as texts.

        Args:
            source: The source's name in the statement.
            own_order: Whether each column is ordered as its type orders, by the key's index.
        """
        return sqlfile.comma(
            sql.SQL("{}{}").format(
                sqlfile.identifier(source, column.name), sqlfile.raw("" if own else "::text")
            )
            for column, own in zip(self.spec.key, own_order, strict=True)
        )

    def after_key(self, source: str, own_order: Sequence[bool]) -> sql.Composed:
        """``(s.id) > (%(after_1)s::text::bigint)``: the rows behind one key, in that order."""
        given = sqlfile.comma(
            sql.SQL("{}::text::{}").format(
                sql.Placeholder(f"after_{place}"), sqlfile.raw(column.type if own else "text")
            )
            for place, (column, own) in enumerate(zip(self.spec.key, own_order, strict=True), 1)
        )
        return sql.SQL("({}) > ({})").format(self.ordered_key(source, own_order), given)

    def own_key_of(self, table: str) -> sql.Composed:
        """``r.key_1, r.key_2``"""
        return sqlfile.comma(sqlfile.identifier(table, own) for own in self.own_key)

    def same_key(self, left: str, right: str) -> sql.Composed:
        """``r.key_1 = g.key_1``: two of our own rows of one key."""
        return sqlfile.conjunction(
            sql.SQL("{} = {}").format(sqlfile.identifier(left, own), sqlfile.identifier(right, own))
            for own in self.own_key
        )

    @cached_property
    def key_json(self) -> sql.Composed:
        """A key as JSON: a scalar for one column, else an object by the source's names."""
        if len(self.spec.key) == 1:
            return sql.SQL("to_jsonb({})").format(sqlfile.identifier(self.own_key[0]))
        pairs = sqlfile.comma(
            sql.SQL("{}::text, {}").format(sqlfile.literal(column.name), sqlfile.identifier(own))
            for own, column in zip(self.own_key, self.spec.key, strict=True)
        )
        return sql.SQL("jsonb_build_object({})").format(pairs)

    def key_from_json(self, value: str) -> sql.Composed:
        """The inverse of ``key_json``, of the JSON column ``value``."""
        if len(self.spec.key) == 1:
            return sql.SQL("({} #>> '{{}}')::{}").format(
                sqlfile.identifier(value), sqlfile.raw(self.spec.key[0].type)
            )
        return sqlfile.comma(
            sql.SQL("({} ->> {})::{}").format(
                sqlfile.identifier(value), sqlfile.literal(column.name), sqlfile.raw(column.type)
            )
            for column in self.spec.key
        )


def dollar_quoted(body: str) -> sql.SQL:
    """``$embedsql$body$embedsql$``, with a tag that the body does not contain."""
    tag = "$embedsql$"
    attempt = 0
    while tag in body:
        attempt += 1
        tag = f"$embedsql{attempt}$"
    return sqlfile.raw(f"{tag}{body}{tag}")
