"""What fills the slots of the ``.sql`` files where vectors stand: by storage and quantization.

A chunk's vector is a column ``embedding`` of the chunk table, or ``codes``, ``scale`` and ``bits``
there, or a column of the source, where anybody may write: a hash of it stands with the chunk then.
Whatever it is, searches read it as ``embedding`` of a view.
"""

from __future__ import annotations

from psycopg import sql

from embedsql import sqlfile
from embedsql.slots import Slots

# a vector that is kept in its row is read five times faster than one moved to TOAST; a row must
# fit an 8 kB page, so the widest stay out of line
PLAIN_STORAGE_BYTES = 4096

# Whether a stored chunk has the content of the new one. The hash of a chunk that ``requeue`` wants
# embedded again is marked by a zero byte before it.
STANDS = r"c.content_hash IN (EXCLUDED.content_hash, '\x00'::bytea || EXCLUDED.content_hash)"


class VectorSlots:
    """SQL fragments about the vectors of one index."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._spec = slots.spec
        self._form = slots.spec.vectors
        self.in_source = slots.spec.storage == "column"
        self.column = sqlfile.identifier(slots.spec.vector_column)

    @property
    def definitions(self) -> sql.Composable:
        """``, embedding vector(384)``: the chunk table's columns; null where only words are had."""
        if self.in_source:
            return sql.SQL(", vector_hash bytea")
        if self._form.has_codes:
            return sqlfile.raw(f', codes "char"[], scale real, bits bit({self._seen})')
        return sqlfile.raw(f", embedding {self._spec.vector_type}")

    @property
    def stored_column(self) -> str | None:
        """The chunk table's widest column of vectors."""
        if self.in_source:
            return None
        return "codes" if self._form.has_codes else "embedding"

    @property
    def storage(self) -> str:
        """How PostgreSQL stores that column."""
        # the application's own columns need room in its row, too
        most = PLAIN_STORAGE_BYTES // 2 if self.in_source else PLAIN_STORAGE_BYTES
        fits = self._form.stored_bytes(self._spec.dimensions) <= most
        return "PLAIN" if fits else "EXTERNAL"

    @property
    def viewed(self) -> sql.Composable:
        """What the view of chunks shows of ``c``, and of ``s``, its source."""
        if self.in_source:
            return sql.SQL("s.{} AS embedding").format(self.column)
        if self._form.has_codes:
            return sql.SQL("embedsql.dequantize(c.codes, c.scale) AS embedding, c.bits")
        return sql.SQL("c.embedding")

    @property
    def viewed_from(self) -> sql.Composable:
        """``embedsql.article_search_chunk_1 AS c``, with the source where it holds the vectors."""
        return self._chunks_with_vectors("JOIN")

    @property
    def outer_from(self) -> sql.Composable:
        """The same, with the chunks whose row is gone."""
        return self._chunks_with_vectors("LEFT JOIN")

    @property
    def present(self) -> sql.Composable:
        """Whether a chunk has its vector, there."""
        table = sql.SQL("s" if self.in_source else "c")
        return sql.SQL("{}.{} IS NOT NULL").format(table, self.present_column)

    @property
    def is_own(self) -> sql.Composable:
        """Whether a vector there is what a worker wrote; in our own tables nobody else writes."""
        if not self.in_source:
            return sql.SQL("true")
        stands = sql.SQL("s.{}").format(self.column)
        return sql.SQL("c.vector_hash IS NOT DISTINCT FROM {}").format(self._hash_of(stands))

    @property
    def may_differ(self) -> sql.SQL:
        """Whether a chunk that stands there already may come with another vector."""
        return sqlfile.raw("true" if self.in_source else "false")

    @property
    def differs(self) -> sql.Composable:
        """`` OR c.vector_hash IS DISTINCT FROM EXCLUDED.vector_hash``, where that may be."""
        if not self.in_source:
            return sql.SQL("")
        return sql.SQL(" OR c.vector_hash IS DISTINCT FROM EXCLUDED.vector_hash")

    @property
    def present_column(self) -> sql.Identifier:
        """Null where there is no vector, in the table that carries the approximate index."""
        return self.column if self.in_source else sqlfile.identifier(self._saved[0])

    def source_join(self, join: str) -> sql.Composable:
        """``JOIN article AS s ON s.id = c.key_1``, where the source holds the vectors."""
        if not self.in_source:
            return sql.SQL("")
        match = self._slots.key_match("s", "c")
        return sql.SQL("{} {} AS s ON {}").format(sqlfile.raw(join), self._slots.source, match)

    def _chunks_with_vectors(self, join: str) -> sql.Composable:
        return sql.SQL("{} AS c {}").format(self._slots.chunk, self.source_join(join))

    @property
    def saved_columns(self) -> sql.Composable:
        """``, embedding``: what is written of a chunk's vector."""
        return sql.SQL("").join(
            sql.SQL(", {}").format(sqlfile.identifier(name)) for name in self._saved
        )

    @property
    def saved_values(self) -> sql.Composable:
        """What is written there, of ``k.embedding``."""
        if self.in_source:
            return sql.SQL(", {}").format(self._hash_of(sql.SQL("k.embedding")))
        if self._form.has_codes:
            seen = sqlfile.literal(self._seen)
            bits = sql.SQL("binary_quantize(subvector(k.embedding, 1, {}))::bit({})")
            return sql.SQL(", q.codes, q.scale, ") + bits.format(seen, seen)
        return sql.SQL(", k.embedding")

    @property
    def saved_from(self) -> sql.Composable:
        """A further table of that query."""
        if not self._form.has_codes:
            return sql.SQL("")
        return sql.SQL("CROSS JOIN LATERAL embedsql.quantize(k.embedding) AS q")

    @property
    def updated(self) -> sql.Composable:
        """``, embedding = EXCLUDED.embedding``"""
        return sql.SQL("").join(
            sql.SQL(", {0} = EXCLUDED.{0}").format(sqlfile.identifier(name)) for name in self._saved
        )

    @property
    def kept(self) -> sql.Composable:
        """The same, but where there is none, a chunk that says the same keeps its own."""
        return sql.SQL("").join(
            sql.SQL(", {0} = coalesce(EXCLUDED.{0}, CASE WHEN {1} THEN c.{0} END)").format(
                sqlfile.identifier(name), sql.SQL(STANDS)
            )
            for name in self._saved
        )

    @property
    def given(self) -> sql.Composable:
        """Whether a chunk comes with its vector."""
        return sql.SQL("EXCLUDED.{} IS NOT NULL").format(sqlfile.identifier(self._saved[0]))

    @property
    def indexed_table(self) -> sql.Identifier:
        """The table that carries the approximate index."""
        return self._slots.source if self.in_source else self._slots.chunk

    @property
    def vector_index(self) -> sql.Identifier:
        """The approximate index; it stands in its table's schema."""
        name = self._slots.names.vector_index
        return sqlfile.identifier(self._spec.schema, name) if self.in_source else sqlfile.kit(name)

    @property
    def index_expression(self) -> sql.Composable:
        """What is indexed."""
        expression = self._form.index_expression(self._spec.dimensions)
        if not self.in_source:
            return sqlfile.raw(expression)
        return sql.SQL(expression.replace("embedding", "{0}")).format(self.column)

    def _hash_of(self, vector: sql.Composable) -> sql.Composable:
        sent = sqlfile.raw(f"{self._form.stored_as}_send")
        return sql.SQL("sha256({}({}))").format(sent, vector)

    @property
    def _saved(self) -> tuple[str, ...]:
        if self.in_source:
            return ("vector_hash",)
        return ("codes", "scale", "bits") if self._form.has_codes else ("embedding",)

    @property
    def _seen(self) -> int:
        return self._spec.index_dimensions or self._spec.dimensions
