"""Search an index that only the registry knows, as the command line does: no model class needed."""

from __future__ import annotations

from embedsql.registered.found import Found
from embedsql.registered.search import RegisteredSearch

__all__ = ["Found", "RegisteredSearch"]
