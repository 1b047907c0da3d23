"""How operations and pgvector's types look in a revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from embedsql.alembic.changes import needs_new_vectors
from embedsql.alembic.creation_operations import CreateSemanticIndexOp, CreationOp
from embedsql.alembic.literals import arguments_of, literal
from embedsql.alembic.operations import (
    ChangeSemanticIndexOp,
    SemanticIndexOp,
)
from embedsql.alembic.schema_operations import InstallEmbedsqlOp, UninstallEmbedsqlOp

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


def render_install(context: AutogenContext, operation: InstallEmbedsqlOp) -> str:
    """``op.install_embedsql(version=2, upgrade_from=1)``"""
    before = f", upgrade_from={operation.upgrade_from}" if operation.upgrade_from else ""
    return f"{_prefix(context)}install_embedsql(version={operation.version}{before})"


def render_uninstall(context: AutogenContext, operation: UninstallEmbedsqlOp) -> str:
    """``op.uninstall_embedsql(version=2, downgrade_to=1)``"""
    before = f", downgrade_to={operation.downgrade_to}" if operation.downgrade_to else ""
    return f"{_prefix(context)}uninstall_embedsql(version={operation.version}{before})"


def render_semantic_index(context: AutogenContext, operation: SemanticIndexOp) -> str:
    """``op.create_semantic_index('article_search', 'article', …)``, one argument a line."""
    spec = operation.spec
    arguments = arguments_of(spec)
    if operation.partitioned:
        arguments["partitioned"] = True
    if isinstance(operation, CreationOp) and operation.keep_privileges:
        arguments["keep_privileges"] = True
    anew = isinstance(operation, CreateSemanticIndexOp) and operation.keep_privileges
    if isinstance(operation, ChangeSemanticIndexOp):
        if operation.before:
            arguments["before"] = operation.before
        anew = needs_new_vectors(operation.spec_before, spec)
    lines = [repr(spec.name), repr(spec.table)]
    lines += [f"{name}={literal(value, context.imports)}" for name, value in arguments.items()]
    said = "".join(f"    {line},\n" for line in lines)
    comment = "# every row is embedded anew, and not found until it is\n" if anew else ""
    return f"{comment}{_prefix(context)}{operation.verb}(\n{said})"


def render_item(type_: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Alembic's ``render_item`` for pgvector's types, with their import; ``False`` for others."""
    if type_ == "type" and type(item).__module__.startswith("pgvector.sqlalchemy"):
        context.imports.add("import pgvector.sqlalchemy")
        return f"pgvector.sqlalchemy.{item!r}"
    return False


def _prefix(context: AutogenContext) -> str:
    return str(context.opts["alembic_module_prefix"] or "")
