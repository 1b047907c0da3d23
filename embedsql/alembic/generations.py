"""Operations for a model change.

In a revision, with the new declaration as a literal::

    op.reembed_semantic_index("article_search", "article", generation=2, key={"id": "bigint"},
                              text=["title", "body"], model="hash:128", dimensions=128)

makes the next generation, which workers fill. In a later one, once
``embedsql reembed article_search --no-switch`` says that it is ready,
``op.switch_semantic_index(...)`` with the same arguments lets it serve; it refuses one that is not
ready. ``embedsql reembed article_search --finish`` drops the one before. Each can be reversed, and
works offline.

A migration waits for no moment in which the new generation has caught up: on a busy table, leave
the switch to ``embedsql reembed article_search``, which does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic.operations import MigrateOperation, Operations

from embedsql import ddl
from embedsql.alembic.checks import check_made, existing_source
from embedsql.alembic.found import registered_spec, registered_tuning
from embedsql.alembic.literals import spec_of
from embedsql.alembic.running import is_offline, run
from embedsql.naming import ObjectNames
from embedsql.spec import IndexSpec
from embedsql.sqlsearch import function_statements


class _GenerationOp(MigrateOperation):
    """An operation on one generation, declared in full, so that it can be reversed.

    Args:
        spec: The declaration.
        generation: Its number.
        before: The number of the generation that serves before it.
        partitioned: Whether the source is a partitioned table.
    """

    def __init__(
        self, spec: IndexSpec, generation: int, before: int, *, partitioned: bool = False
    ) -> None:
        self.spec = spec
        self.generation = generation
        self.before = before
        self.partitioned = partitioned

    @property
    def names(self) -> ObjectNames:
        """The generation's objects."""
        return ObjectNames(self.spec.name, self.generation)

    @classmethod
    def invoke(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        generation: int,
        key: Mapping[str, str],
        text: Sequence[str],
        dimensions: int,
        before: int | None = None,
        partitioned: bool = False,
        **options: Any,
    ) -> None:
        """Run it on a generation.

        Args:
            operations: Given by Alembic.
            name: The index.
            table: The source table.
            generation: The generation's number, from 2.
            key: The source's primary key: column names with their SQL types, in order.
            text: The new declaration's text columns.
            dimensions: Length of the new model's vectors.
            before: The generation that serves before. Defaults to the number before.
            partitioned: Whether the source is a partitioned table.
            options: The other fields of ``IndexSpec``: schema, model, quantization, ...

        Raises:
            DeclarationError: The declaration cannot be.
        """
        spec = spec_of(name, table, key, text, dimensions, options)
        operations.invoke(cls(spec, generation, before or generation - 1, partitioned=partitioned))


class ReembedSemanticIndexOp(_GenerationOp):
    """Make the next generation of an index."""

    def reverse(self) -> AbandonGenerationOp:
        """The removal."""
        return AbandonGenerationOp(
            self.spec, self.generation, self.before, partitioned=self.partitioned
        )


class AbandonGenerationOp(_GenerationOp):
    """Remove a generation that does not serve."""

    def reverse(self) -> ReembedSemanticIndexOp:
        """The making."""
        return ReembedSemanticIndexOp(
            self.spec, self.generation, self.before, partitioned=self.partitioned
        )


class SwitchSemanticIndexOp(_GenerationOp):
    """Let a generation serve that is ready."""

    def reverse(self) -> SwitchSemanticIndexOp:
        """The way back."""
        return SwitchSemanticIndexOp(
            self.spec, self.before, self.generation, partitioned=self.partitioned
        )


def register_generations() -> None:
    """Teach ``op`` the operations above."""
    for operation, name, made_by in (
        (ReembedSemanticIndexOp, "reembed_semantic_index", _make),
        (AbandonGenerationOp, "abandon_semantic_index_generation", _abandon),
        (SwitchSemanticIndexOp, "switch_semantic_index", _switch),
    ):
        Operations.register_operation(name, "invoke")(operation)
        Operations.implementation_for(operation)(made_by)


def _make(operations: Operations, operation: ReembedSemanticIndexOp) -> None:
    spec = operation.spec
    if not is_offline(operations):
        bind = operations.get_bind()
        check_made(bind, spec, existing_source(bind, spec), before=spec)
    statements = ddl.next_generation_statements(
        spec,
        operation.names,
        partitioned=operation.partitioned,
        like=ObjectNames(spec.name, operation.before),
    )
    run(operations, statements)


def _abandon(operations: Operations, operation: AbandonGenerationOp) -> None:
    spec, names = operation.spec, operation.names
    statements = ddl.drop_trigger_statements(spec, names)
    run(operations, statements + ddl.drop_generation_statements(spec, names))


def _switch(operations: Operations, operation: SwitchSemanticIndexOp) -> None:
    spec, names = operation.spec, operation.names
    tuning = None
    # As the reverse of a switch, this leads back to a generation with a declaration of its own,
    # which the revision does not hold.
    if not is_offline(operations):
        bind = operations.get_bind()
        spec = registered_spec(bind, spec.name, names.generation) or spec
        tuning = registered_tuning(bind, spec.name, names.generation)
    statements = [ddl.require_ready_statement(spec, names)]
    statements += function_statements(spec, names, tuning)
    statements += ddl.switch_statements(spec, names, in_place=False)  # last: locks the views
    run(operations, statements)
