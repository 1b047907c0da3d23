"""The operations on a semantic index: what each is called, what it takes, and what reverses it.

They take its declaration in full, so that a revision can be read, reversed
and printed without a database.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from alembic.operations import MigrateOperation, Operations

from embedsql.alembic.literals import spec_of
from embedsql.spec import IndexSpec


class SemanticIndexOp(MigrateOperation):
    """An operation on one semantic index, which is declared in full.

    Attributes:
        verb: What it is called in a revision.
        spec: The declaration.
        partitioned: Whether the source is a partitioned table, or another's child. Online, a table
            that turns out to be one is treated as one.
    """

    verb: ClassVar[str]

    def __init__(self, spec: IndexSpec, *, partitioned: bool = False) -> None:
        self.spec = spec
        self.partitioned = partitioned

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
            options: The other fields of ``IndexSpec``: schema, model, backend, quantization, ...

        Raises:
            DeclarationError: The declaration cannot be, or the table stayed locked.
        """
        spec = spec_of(name, table, key, text, dimensions, options)
        operations.invoke(cls(spec, partitioned=partitioned))

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What ``alembic check`` prints."""
        return (self.verb, self.spec.name, f"{self.spec.schema}.{self.spec.table}")


class CreateVectorIndexOp(SemanticIndexOp):
    """Build the approximate index now, concurrently, rather than leave it to a worker."""

    verb = "create_vector_index"

    def reverse(self) -> DropVectorIndexOp:
        """The drop."""
        return DropVectorIndexOp(self.spec, partitioned=self.partitioned)


class DropVectorIndexOp(SemanticIndexOp):
    """Remove the approximate index, concurrently; a worker builds it again unless it is 'none'."""

    verb = "drop_vector_index"

    def reverse(self) -> CreateVectorIndexOp:
        """The build."""
        return CreateVectorIndexOp(self.spec, partitioned=self.partitioned)


class RepairSemanticIndexOp(SemanticIndexOp):
    """Make triggers, functions, views and small indexes anew, as this release makes them.

    Its own reverse: what it mended is as well mended after a downgrade.
    """

    verb = "repair_semantic_index"

    def reverse(self) -> RepairSemanticIndexOp:
        """The same."""
        return RepairSemanticIndexOp(self.spec, partitioned=self.partitioned)


class SuspendSemanticIndexOp(SemanticIndexOp):
    """Take the triggers away, which forbid that a column's type is altered.

    Between this and ``resume_semantic_index``, in one transaction, no change can be missed.
    """

    verb = "suspend_semantic_index"

    def reverse(self) -> ResumeSemanticIndexOp:
        """Their return."""
        return ResumeSemanticIndexOp(self.spec, partitioned=self.partitioned)


class ResumeSemanticIndexOp(SemanticIndexOp):
    """Put the triggers back that ``suspend_semantic_index`` took away."""

    verb = "resume_semantic_index"

    def reverse(self) -> SuspendSemanticIndexOp:
        """Their removal."""
        return SuspendSemanticIndexOp(self.spec, partitioned=self.partitioned)


class ChangeSemanticIndexOp(SemanticIndexOp):
    """Turn a semantic index into another one on the same table.

    What needs other vectors (model, dimensions, template, chunking, quantization, ...) drops the
    index and makes it anew: searches find nothing until a worker has embedded the rows again.
    Anything else is changed where it stands.

    Attributes:
        before: The fields that were different before, with their values then.
    """

    verb = "change_semantic_index"

    def __init__(
        self, spec: IndexSpec, *, before: Mapping[str, Any], partitioned: bool = False
    ) -> None:
        super().__init__(spec, partitioned=partitioned)
        self.before = dict(before)

    @property
    def spec_before(self) -> IndexSpec:
        """The declaration as it was."""
        return dataclasses.replace(self.spec, **self.before)

    @classmethod
    def changed(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        key: Mapping[str, str],
        text: Sequence[str],
        dimensions: int,
        before: Mapping[str, Any] | None = None,
        partitioned: bool = False,
        **options: Any,
    ) -> None:
        """Run the operation: the index is to be as declared here.

        Args:
            operations: Given by Alembic.
            name: The index, and its view.
            table: The source table.
            key: Its primary key: column names with their SQL types, in order.
            text: Its text columns, in order.
            dimensions: Length of the model's vectors.
            before: The fields of ``IndexSpec`` that were different, with their values then.
            partitioned: Whether the source is a partitioned table.
            options: The other fields of ``IndexSpec``.

        Raises:
            DeclarationError: One of the two declarations cannot be, or the table stayed locked.
        """
        spec = spec_of(name, table, key, text, dimensions, options)
        operations.invoke(cls(spec, before=before or {}, partitioned=partitioned))

    def reverse(self) -> ChangeSemanticIndexOp:
        """The change back."""
        after = {name: getattr(self.spec, name) for name in self.before}
        return type(self)(self.spec_before, before=after, partitioned=self.partitioned)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What ``alembic check`` prints."""
        return (
            *super().to_diff_tuple(),
            {name: (value, getattr(self.spec, name)) for name, value in self.before.items()},
        )


class RebuildVectorIndexOp(ChangeSemanticIndexOp):
    """Build the approximate index beside the old one, concurrently, and let it take its place.

    With ``before``, its build options change; without, it is built again as it is declared.
    """

    verb = "rebuild_vector_index"
