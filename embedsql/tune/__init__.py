"""Measured settings: the cheapest that reaches a recall, and the weight of the lexical lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import psycopg

from embedsql import sqlfile
from embedsql.ddl import approximate_indexes
from embedsql.errors import ConfigurationError
from embedsql.evaluate import JudgedQuery
from embedsql.registered import RegisteredSearch
from embedsql.registry import RegisteredIndex, find_index
from embedsql.search import SearchTuning
from embedsql.search.words import meant_text
from embedsql.tune.fusion import LearntWeight, learn_weight, with_weight
from embedsql.tune.lexical import LexicalRecall, cheapest, measure_lexical, stored_questions
from embedsql.tune.probes import ExactSearch, Probe, stored_probes
from embedsql.tune.recall import Measured, measure, settings_for
from embedsql.tune.variants import VariantRecall, predict_variants
from embedsql.vector_index import count_vectors

__all__ = ["Tuned", "changed_fields", "literal", "tune"]

POOL = 5000  # vectors of the sample in which other forms are tried


@dataclass(frozen=True)
class Tuned:
    """What was measured, and what is proposed.

    Attributes:
        vectors: Vectors of the index.
        probes: Questions asked: half to choose by, half to judge the choice.
        index_bytes: Size of the approximate index, as it is.
        settings: What was measured on the first half, least work first.
        proposal: The settings proposed; ``None``: none reached the target.
        recall: Of the proposal, on the half that it was not chosen by.
        p50: Of the proposal there, in milliseconds.
        variants: What other forms of the vectors would find.
        lexical: What the lexical lane's approximate index finds, where there is one.
        fusion: The lexical lane's weight; ``None``: there were no judged queries, or no such lane.
    """

    vectors: int
    probes: int
    index_bytes: int
    settings: Sequence[Measured]
    proposal: SearchTuning | None
    recall: float | None
    p50: float | None
    variants: Sequence[VariantRecall]
    lexical: Sequence[LexicalRecall]
    fusion: LearntWeight | None

    def to_json(self) -> dict[str, Any]:
        """The shape of ``embedsql tune --json``, less what was asked."""
        proposal = self.proposal and {
            "tuning": changed_fields(self.proposal),
            "literal": literal(self.proposal),
            "recall@10": self.recall,
            "latency_ms": {"p50": self.p50},
        }
        fusion = self.fusion and {
            "queries": self.fusion.queries,
            "ndcg@10": {str(weight): ndcg for weight, ndcg in self.fusion.ndcg.items()},
            "present": self.fusion.present,
            "held_out": self.fusion.held_out,
            "weight": self.fusion.weight,
        }
        return {
            "vectors": self.vectors,
            "probes": self.probes,
            "index_bytes": self.index_bytes,
            "settings": [_setting(one) for one in self.settings],
            "proposal": proposal,
            "variants": [_renamed(asdict(one)) for one in self.variants],
            "lexical": [
                {
                    "lexical_ef_search": one.ef_search,
                    "recall@10": one.recall,
                    "latency_ms": {"p50": one.p50},
                }
                for one in self.lexical
            ],
            "fusion": fusion,
        }


def tune(
    connection: psycopg.Connection,
    search: RegisteredSearch,
    name: str,
    *,
    judged: Sequence[JudgedQuery] = (),
    sample: int = 200,
    target: float = 0.95,
) -> Tuned:
    """Measure an index that is filled; it changes nothing.

    Args:
        connection: In autocommit mode.
        search: The index.
        name: Its name.
        judged: Queries with judgements: asked instead of stored rows, and the weight of the
            lexical lane is learnt from them.
        sample: Stored rows, or judged queries, that are asked.
        target: Recall@10 to reach, 0 to 1.

    Raises:
        ConfigurationError: The index holds too few vectors.
    """
    index = find_index(connection, name)
    count = count_vectors(connection, index)
    pool = stored_probes(connection, index, max(POOL, sample))
    if len(pool) < 2:
        raise ConfigurationError(
            f"{name} holds {len(pool)} vectors: fill it first, embedsql worker"
        )
    texts = [meant_text(query.text) for query in judged]
    vectors = search.embedder.embed_queries(texts) if judged else None
    probes = pool[:sample] if vectors is None else [Probe(one) for one in vectors[:sample]]
    settings = settings_for(index.spec, search.tuning)
    exact = ExactSearch(connection, index)
    metric = index.spec.metric
    chosen_by, judged_by = probes[::2], probes[1::2] or probes
    measure(search, exact, chosen_by, settings, metric)
    best = next((one for one in settings if one.recall >= target), None)
    verified = None
    if best is not None:
        verified = Measured(best.tuning, best.work)
        measure(search, exact, judged_by, [verified], metric)
    fusion: LearntWeight | None = None
    proposal = None if best is None else best.tuning
    if vectors is not None and index.spec.lexical is not None:
        fusion = learn_weight(search, judged, vectors, proposal or search.tuning)
        if proposal is not None and fusion.weight is not None:
            proposal = with_weight(proposal, fusion.weight)
    lexical: Sequence[LexicalRecall] = ()
    if index.spec.lexical_index == "hnsw":
        asked = [one.text for one in judged[:sample]]
        asked = asked or stored_questions(connection, index, sample)[:sample]
        lexical = measure_lexical(search, asked, search.tuning)
        if proposal is not None:
            proposal = replace(proposal, lexical_ef_search=cheapest(lexical, target))
    return Tuned(
        vectors=count,
        probes=len(probes),
        index_bytes=_size(connection, index),
        settings=settings,
        proposal=proposal,
        recall=None if verified is None else verified.recall,
        p50=None if verified is None else verified.p50,
        variants=predict_variants(index.spec, pool, probes, count, target),
        lexical=lexical,
        fusion=fusion,
    )


def changed_fields(tuning: SearchTuning) -> dict[str, Any]:
    """What of the settings is not the default."""
    return {
        one.name: getattr(tuning, one.name)
        for one in fields(tuning)
        if getattr(tuning, one.name) != one.default
    }


def literal(tuning: SearchTuning) -> str:
    """The settings as Python: ``SearchTuning(ef_search=100)``."""
    said = ", ".join(f"{name}={value!r}" for name, value in changed_fields(tuning).items())
    return f"SearchTuning({said})"


def _setting(one: Measured) -> dict[str, Any]:
    return {
        "tuning": changed_fields(one.tuning),
        "recall@10": one.recall,
        "latency_ms": {"p50": one.p50},
        "answered_exactly": one.exact_share,
    }


def _renamed(variant: dict[str, Any]) -> dict[str, Any]:
    variant["recall@10"] = variant.pop("recall")
    return variant


def _size(connection: psycopg.Connection, index: RegisteredIndex) -> int:
    vectors = approximate_indexes(index.spec, index.names)[0]
    row = connection.execute(
        "SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)",
        [sqlfile.text(vectors.called(vectors.name))],
    ).fetchone()
    return 0 if row is None else int(row[0])
