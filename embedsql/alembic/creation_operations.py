"""The operations that make a semantic index, and that remove one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic.operations import Operations

from embedsql.alembic.literals import spec_of
from embedsql.alembic.operations import SemanticIndexOp
from embedsql.spec import IndexSpec


class CreationOp(SemanticIndexOp):
    """A drop, or a creation; or the two halves of making an index anew.

    Attributes:
        keep_privileges: Whether roles may do with the index that is created what they might with
            the one of its name that the same revision drops. Both operations say so, or neither.
    """

    def __init__(
        self, spec: IndexSpec, *, partitioned: bool = False, keep_privileges: bool = False
    ) -> None:
        super().__init__(spec, partitioned=partitioned)
        self.keep_privileges = keep_privileges

    @classmethod
    def declared(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        key: Mapping[str, str],
        text: Sequence[str],
        dimensions: int,
        partitioned: bool = False,
        keep_privileges: bool = False,
        **options: Any,
    ) -> None:
        """Run the operation on the index so declared.

        Args:
            operations: Given by Alembic.
            name: The index, and its view.
            table: The source table.
            key: Its primary key: column names with their SQL types, in order.
            text: Its text columns, in order.
            dimensions: Length of the model's vectors.
            partitioned: Whether the source is a partitioned table.
            keep_privileges: See the class.
            options: The other fields of ``IndexSpec``: schema, model, backend, quantization, ...

        Raises:
            DeclarationError: The declaration cannot be, or the table stayed locked.
            ConfigurationError: Its model or dimensions cannot.
        """
        spec = spec_of(name, table, key, text, dimensions, options)
        operations.invoke(cls(spec, partitioned=partitioned, keep_privileges=keep_privileges))


class CreateSemanticIndexOp(CreationOp):
    """Make a semantic index on an existing table; a worker embeds its rows."""

    verb = "create_semantic_index"

    def reverse(self) -> DropSemanticIndexOp:
        """The drop."""
        return DropSemanticIndexOp(
            self.spec, partitioned=self.partitioned, keep_privileges=self.keep_privileges
        )


class DropSemanticIndexOp(CreationOp):
    """Remove a semantic index and all it made; declared in full, so that it can be reversed."""

    verb = "drop_semantic_index"

    def reverse(self) -> CreateSemanticIndexOp:
        """The creation."""
        return CreateSemanticIndexOp(
            self.spec, partitioned=self.partitioned, keep_privileges=self.keep_privileges
        )
