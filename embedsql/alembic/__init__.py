"""Operations for an application's own Alembic revisions, and autogenerate.

In ``env.py``::

    from embedsql.alembic import embedsql_hooks
    context.configure(connection=connection, target_metadata=Base.metadata, **embedsql_hooks())

Then ``alembic revision --autogenerate`` sees every ``SemanticIndex`` that is declared on a table
of the metadata, and writes::

    op.install_embedsql(version=1)
    op.create_semantic_index(
        'article_search', 'article', key={'id': 'bigint'}, text=['title', 'body'],
        model='sentence-transformers/all-MiniLM-L6-v2', dimensions=384,
    )

Who writes revisions by hand needs ``register_operations()`` alone. Importing this package changes
nothing in Alembic; either call does.

A revision holds its declaration as a literal: it must mean tomorrow what it means today, so it
does not import the application's live model. Every operation works in offline mode (``--sql``)
and can be reversed. Rows that exist are logged by the worker when it next starts, so that a
migration stays short; the worker builds the vector index, too, once they are embedded.
"""

from __future__ import annotations

from embedsql.alembic.creation_operations import CreateSemanticIndexOp, DropSemanticIndexOp
from embedsql.alembic.hooks import embedsql_hooks, register_operations
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

__all__ = [
    "ChangeSemanticIndexOp",
    "CreateSemanticIndexOp",
    "CreateVectorIndexOp",
    "DropSemanticIndexOp",
    "DropVectorIndexOp",
    "InstallEmbedsqlOp",
    "RebuildVectorIndexOp",
    "RepairSemanticIndexOp",
    "ResumeSemanticIndexOp",
    "SuspendSemanticIndexOp",
    "UninstallEmbedsqlOp",
    "embedsql_hooks",
    "register_operations",
]
