"""A question becomes a ``Select``: one statement, with a CTE for each lane.

dense (nearest vectors) and lexical (matching words) → fusion → rows, best first. Nothing here
needs torch, the change log or Alembic.
"""

from __future__ import annotations

from embedsql.search.hit import Hit
from embedsql.search.query import Mode, Query, SearchTuning
from embedsql.search.shaping import Shaping, recency
from embedsql.search.statement import search_statement

__all__ = ["Hit", "Mode", "Query", "SearchTuning", "Shaping", "recency", "search_statement"]
