"""What an application's ``env.py`` calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from alembic.autogenerate import comparators, renderers
from alembic.operations import Operations

from embedsql.alembic import implementations, making, rendering
from embedsql.alembic.compare import OPTION, compare_semantic_indexes
from embedsql.alembic.creation_operations import CreateSemanticIndexOp, DropSemanticIndexOp
from embedsql.alembic.generations import register_generations
from embedsql.alembic.operations import (
    ChangeSemanticIndexOp,
    CreateVectorIndexOp,
    DropVectorIndexOp,
    RebuildVectorIndexOp,
    RepairSemanticIndexOp,
    ResumeSemanticIndexOp,
    SuspendSemanticIndexOp,
)
from embedsql.alembic.schema_operations import InstallEmbedsqlOp, UninstallEmbedsqlOp
from embedsql.naming import SCHEMA

_ON_AN_INDEX = (
    (CreateSemanticIndexOp, "declared", making.create),
    (DropSemanticIndexOp, "declared", making.drop),
    (ChangeSemanticIndexOp, "changed", implementations.change),
    (RepairSemanticIndexOp, "declared", implementations.repair),
    (SuspendSemanticIndexOp, "declared", implementations.suspend),
    (ResumeSemanticIndexOp, "declared", implementations.resume),
    (CreateVectorIndexOp, "declared", implementations.create_vector_index),
    (DropVectorIndexOp, "declared", implementations.drop_vector_index),
    (RebuildVectorIndexOp, "changed", implementations.rebuild_vector_index),
)

# names of approximate indexes on a source, and of the two that are there while one is replaced
_VECTOR_INDEX = re.compile(r"_chunk_\d+_ann(_new|_old)?$|_[0-9a-f]{8}_(new|old)$")
_OWN_COMMENT = re.compile(r"^vectors of the semantic index .* kept by embedsql$", re.DOTALL)


def register_operations() -> None:
    """Teach ``op`` our operations, and autogenerate to write them. Again does no harm."""
    if hasattr(Operations, "install_embedsql"):
        return
    _register(InstallEmbedsqlOp, "install_embedsql", "install_embedsql", implementations.install)
    _register(
        UninstallEmbedsqlOp, "uninstall_embedsql", "uninstall_embedsql", implementations.uninstall
    )
    renderers.dispatch_for(InstallEmbedsqlOp)(rendering.render_install)
    renderers.dispatch_for(UninstallEmbedsqlOp)(rendering.render_uninstall)
    for operation, method, run in _ON_AN_INDEX:
        _register(operation, operation.verb, method, run)
        renderers.dispatch_for(operation)(rendering.render_semantic_index)
    register_generations()
    _register_comparator()


def embedsql_hooks(
    *,
    include_name: Callable[..., bool] | None = None,
    include_object: Callable[..., bool] | None = None,
    render_item: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Options of ``context.configure()`` with which autogenerate sees semantic indexes.

    ``context.configure(connection=…, target_metadata=…, **embedsql_hooks())``. Declarations on
    the metadata's tables become operations; what they made is left alone; pgvector's types are
    written with their import. Registers the operations, too.

    Args:
        include_name: The application's own; asked for semantic indexes as well, with the type
            ``semantic_index``.
        include_object: The application's own.
        render_item: The application's own; asked first.
    """
    register_operations()
    return {
        "include_name": partial(_include_name, include_name),
        "include_object": partial(_include_object, include_object),
        "render_item": partial(_render_item, render_item),
        OPTION: True,
    }


def _register(operation: type[Any], name: str, method: str, run: Callable[..., None]) -> None:
    Operations.register_operation(name, method)(operation)
    Operations.implementation_for(operation)(run)


def _register_comparator() -> None:
    """After Alembic's own, so that the operations on tables are known."""
    try:
        from alembic.util import DispatchPriority
    except ImportError:  # Alembic before 1.18 runs comparators in the order of registration
        comparators.dispatch_for("schema")(compare_semantic_indexes)
    else:
        last = comparators.dispatch_for("schema", priority=DispatchPriority.LAST)
        last(compare_semantic_indexes)


def _include_name(
    own: Callable[..., bool] | None, name: str | None, type_: str, parents: dict[str, Any]
) -> bool:
    """All but the kit's schema."""
    if type_ == "schema" and name == SCHEMA:
        return False
    return own is None or own(name, type_, parents)


def _include_object(
    own: Callable[..., bool] | None,
    item: Any,
    name: str | None,
    type_: str,
    reflected: bool,
    compare_to: Any,
) -> bool:
    """All but what a semantic index put on its source, where the application does not map it."""
    if reflected and compare_to is None:
        if type_ == "index" and name is not None and _VECTOR_INDEX.search(name):
            return False
        if type_ == "column" and item.comment and _OWN_COMMENT.match(item.comment):
            return False
    return own is None or own(item, name, type_, reflected, compare_to)


def _render_item(own: Callable[..., Any] | None, type_: str, item: Any, context: Any) -> Any:
    rendered = False if own is None else own(type_, item, context)
    return rendering.render_item(type_, item, context) if rendered is False else rendered
