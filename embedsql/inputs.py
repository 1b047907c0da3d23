"""SQL expressions for what is embedded of a source row, however big its texts are.

Only the hash reads a text to its end. All else reads its beginning: PostgreSQL need not even
decompress the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from psycopg import sql

from embedsql import sqlfile
from embedsql.spec import IndexSpec


class Inputs:
    """Expressions on the columns of one source row.

    Args:
        spec: The index.
        source: The row's alias in the statement.
        most: Characters of each column that are read. ``None``: as declared.
    """

    def __init__(self, spec: IndexSpec, source: str = "s", most: int | None = None) -> None:
        self._spec = spec
        self._source = source
        self._most = most or spec.max_characters

    @cached_property
    def hash(self) -> sql.Composed:
        """Digest of each text column, whole, and of the template.

        A hash of hashes: no big text is copied to be joined to others, and moving words from one
        column to another changes it.
        """
        hashes = [
            sql.SQL(r"coalesce(sha256(convert_to({}, 'UTF8')), '\x00')").format(self._text(name))
            for name in self._spec.text
        ]
        if self._spec.lexical_column is not None:
            configuration = self._text(self._spec.lexical_column)
            hashes.append(sql.SQL("convert_to(coalesce({}, ''), 'UTF8')").format(configuration))
        if self._spec.template is not None:
            template = sqlfile.literal(self._spec.template)
            hashes.append(sql.SQL("convert_to({}, 'UTF8')").format(template))
        return sql.SQL("sha256({})").format(sql.SQL(" || ").join(hashes))

    @cached_property
    def text(self) -> sql.Composed:
        """What is cut into chunks: the columns that no template names, joined; '' where blank."""
        named = self.context_columns if self._spec.template is not None else ()
        columns = [name for name in self._spec.text if name not in named]
        return sql.SQL(r"concat_ws(E'\n\n', {})").format(self._beginnings(columns))

    @cached_property
    def context_columns(self) -> tuple[str, ...]:
        """What every chunk should know of: a template's columns, or the first of several."""
        template = self._spec.parsed_template
        if template is not None:
            return template.columns
        return self._spec.text[:1] if len(self._spec.text) > 1 else ()

    @cached_property
    def context(self) -> sql.Composed:
        """The values of ``context_columns``, as an array; '' where blank."""
        values = (
            sql.SQL("coalesce({}, '')").format(self._beginning(name))
            for name in self.context_columns
        )
        return sql.SQL("ARRAY[{}]::text[]").format(sqlfile.comma(values))

    @cached_property
    def blank(self) -> sql.Composed:
        """Whether nothing is embedded."""
        return sql.SQL("coalesce({}) IS NULL").format(self._beginnings(self._spec.text))

    @cached_property
    def too_long(self) -> sql.Composed:
        """Whether a column goes on beyond what is read of it."""
        most = self._most
        one = "(octet_length({0}) > {1} AND length(left({0}, {2})) > {1})"
        return sql.SQL("coalesce({}, false)").format(
            sql.SQL(" OR ").join(
                sql.SQL(one).format(
                    self._text(name), sqlfile.literal(most), sqlfile.literal(most + 1)
                )
                for name in self._spec.text
            )
        )

    def _beginnings(self, columns: Sequence[str]) -> sql.Composed:
        return sqlfile.comma(self._beginning(name) for name in columns)

    def _beginning(self, column: str) -> sql.Composed:
        # Shortened before it is trimmed: btrim() allocates 12 bytes a character. A short text
        # without white space at its ends is taken as it is: left() and btrim() take longer than
        # hashing it.
        encoded = sql.SQL("convert_to({}, 'UTF8')").format(self._text(column))
        return sql.SQL(
            r"CASE WHEN octet_length({text}) BETWEEN 1 AND {most} AND get_byte({encoded}, 0) > 32 "
            r"AND get_byte({encoded}, octet_length({encoded}) - 1) > 32 THEN {text} "
            r"ELSE nullif(btrim(left({text}, {most}), E' \t\n\r\f\x0B'), '') END"
        ).format(text=self._text(column), most=sqlfile.literal(self._most), encoded=encoded)

    def _text(self, column: str) -> sql.Composed:
        return sql.SQL("{}::text").format(sqlfile.identifier(self._source, column))
