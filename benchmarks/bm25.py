"""The lexical lane's BM25 top 10 of 300,000 short texts, against ``ts_rank`` over any of the words.

Exactly, as is the default, and with an HNSW index on the weights, of which the share of the exact
ten that it finds is told, too. The texts are the sentences of package descriptions. Lexemes and
weights are made by the worker's own expressions, in bulk. All sides are statements sent through one
driver; the control ranks the chunk table alone, the lane joins the source, too.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import BigInteger, Column, MetaData, Table
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect

from benchmarks.collections import Collection, find_collections
from benchmarks.report import write_report
from benchmarks.stage import ROUNDS, interleaved, make_article, temporary_server
from embedsql import SearchTuning, SemanticIndex, sqlfile
from embedsql.evaluate import read_judged_queries
from embedsql.registry import RegisteredIndex
from embedsql.slots import Slots
from embedsql.vector_index import ensure_vector_indexes

_ARTICLE = Table("article", MetaData(), Column("id", BigInteger, primary_key=True))
_DIALECT = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]

TEXTS = 300_000
QUESTIONS = 50

_FILL = """
INSERT INTO {chunk}
    ({key_columns}, chunk_seq, start_offset, content_hash, chunk, lexemes, terms, embedding)
SELECT id, 0, 0, sha256(convert_to(body, 'UTF8')), body, lexemes,
       embedsql.bm25_weights(lexemes, {average}, 1), array_fill(0.125, ARRAY[64])::vector
FROM (
    SELECT id, body, embedsql.chunk_lexemes('english', '', body, 0) AS lexemes FROM article
) AS made
"""
_CONTROL = """
WITH asked AS MATERIALIZED (
    SELECT string_agg(embedsql.quote_lexeme(lexeme), ' | ')::tsquery AS words
    FROM unnest(to_tsvector('english', %s))
)
SELECT {key_columns} FROM {chunk} WHERE lexemes @@ (SELECT words FROM asked)
ORDER BY ts_rank(lexemes, (SELECT words FROM asked), 1) DESC LIMIT 10
"""


def main() -> None:
    """Time every question on both sides, interleaved."""
    found = find_collections("debpkg")
    if not found:
        print("bm25: no collection debpkg here (EMBEDSQL_DATASETS names the folder)")
        return
    sentences = list(_sentences(found[0]))
    with temporary_server() as info, psycopg.connect(info, autocommit=True) as connection:
        index = make_article(connection, index="none", lexical_index="hnsw")
        _fill(connection, index, sentences)
        questions = _questions(found[0], sentences)
        write_report("bm25", compare(connection, index, questions))


def compare(
    connection: psycopg.Connection, index: RegisteredIndex, questions: Sequence[str]
) -> dict[str, Any]:
    """Milliseconds of each side and question."""
    slots = Slots(index.spec, index.names)
    articles = SemanticIndex(
        index.spec.name, _ARTICLE, text="body", model="hash:64", lexical_index="hnsw"
    )
    control = sql.SQL(_CONTROL).format(chunk=slots.chunk, key_columns=slots.key_columns)

    found: dict[tuple[str, str], list[float]] = {}

    def run(question: str, side: str) -> float:
        tuning = SearchTuning(lexical_ef_search=0 if side == "bm25" else None)
        asked = articles.search(question, mode="lexical", tuning=tuning)
        compiled = asked.compile(dialect=_DIALECT)
        text, values = str(compiled).encode(), compiled.params
        started = time.perf_counter()
        if side == "ts_rank":
            connection.execute(control, [question]).fetchall()
        else:
            rows = connection.execute(text, values).fetchall()
            found[question, side] = [row[1] for row in rows]
        return (time.perf_counter() - started) * 1000

    times: dict[str, list[float]] = {"bm25": [], "hnsw": [], "ts_rank": []}
    for question in questions:
        all_sides = interleaved(list(times), partial(run, question))
        for side, milliseconds in all_sides.items():
            times[side].append(min(milliseconds))
    recalls = [_recall(found[one, "bm25"], found[one, "hnsw"]) for one in questions]
    texts = connection.execute("SELECT count(*) FROM article").fetchone()
    ratios = [a / b for a, b in zip(times["bm25"], times["ts_rank"], strict=True)]
    return {
        "texts": texts[0] if texts else 0,
        "questions": len(questions),
        "rounds": ROUNDS,
        **{f"{side}, median ms": round(statistics.median(of), 2) for side, of in times.items()},
        **{f"{side}, slowest ms": round(max(of), 2) for side, of in times.items()},
        "ratio of medians": round(
            statistics.median(times["bm25"]) / statistics.median(times["ts_rank"]), 3
        ),
        "median of ratios": round(statistics.median(ratios), 3),
        "ratio of medians, hnsw": round(
            statistics.median(times["hnsw"]) / statistics.median(times["ts_rank"]), 3
        ),
        "hnsw recall@10, mean": round(statistics.mean(recalls), 3),
        "hnsw recall@10, least": round(min(recalls), 3),
        "by question": {
            question: [round(of[place], 2) for of in times.values()]
            for place, question in enumerate(questions)
        },
    }


def _recall(exact: Sequence[float], found: Sequence[float]) -> float:
    """Share of the exact scores that were reached; rows of one score are as good as one another."""
    if not exact:
        return 1.0
    last = min(exact) - 1e-5
    return min(len(exact), sum(1 for score in found if score >= last)) / len(exact)


def _fill(connection: psycopg.Connection, index: RegisteredIndex, sentences: Sequence[str]) -> None:
    connection.execute("ALTER TABLE article DISABLE TRIGGER USER")
    # an index is made faster after its rows
    lexeme_index = sqlfile.kit(index.names.lexeme_index)
    connection.execute(sql.SQL("DROP INDEX {}").format(lexeme_index))
    with connection.cursor() as cursor, cursor.copy("COPY article (id, body) FROM STDIN") as copy:
        for row in enumerate(sentences):
            copy.write_row(row)
    words = connection.execute(
        "SELECT avg(embedsql.text_length(to_tsvector('english', body))) FROM article"
    ).fetchone()
    assert words is not None
    slots = Slots(index.spec, index.names)
    fill = sql.SQL(_FILL).format(
        chunk=slots.chunk, key_columns=slots.key_columns, average=sql.Literal(float(words[0]))
    )
    connection.execute(fill)
    for statement in sqlfile.script(
        "embedsql.ddl",
        "lexical.sql",
        chunk=slots.chunk,
        lexeme_index=sqlfile.identifier(index.names.lexeme_index),
    ):
        connection.execute(statement, {})
    ensure_vector_indexes(connection, index)
    connection.execute("VACUUM ANALYZE")


def _sentences(collection: Collection) -> Iterator[str]:
    """``TEXTS`` of them, the same in every run."""
    left = TEXTS
    for _, title, text in collection.documents():
        for sentence in (title, *re.split(r"(?<=[.:;])\s+|\n+", text)):
            if len(sentence) > 3 and left:
                left -= 1
                yield sentence.replace("\0", "")


def _questions(collection: Collection, sentences: Sequence[str]) -> list[str]:
    """Judged ones, one-line descriptions and names by turns, and words of texts taken at random."""
    chance = random.Random(5)
    judged = [query.text for query in read_judged_queries(collection.queries, collection.qrels)]
    asked = chance.sample(judged, QUESTIONS // 2)
    while len(asked) < QUESTIONS:
        words = re.findall(r"[A-Za-z]{3,}", " ".join(chance.sample(sentences, 3)))
        if len(words) > 5:
            asked.append(" ".join(chance.sample(words, chance.randint(1, 5))))
    return asked


if __name__ == "__main__":
    main()
