"""The judged collections: a folder with docs.jsonl[.gz], queries.jsonl and qrels.tsv for each."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from embedsql.catalog import describe_source
from embedsql.declare import create_index
from embedsql.spec import IndexSpec


@dataclass(frozen=True)
class Collection:
    """One judged collection."""

    name: str
    folder: Path

    @property
    def queries(self) -> Path:
        """JSON lines of queries."""
        return self.folder / "queries.jsonl"

    @property
    def qrels(self) -> Path:
        """Judgements."""
        return self.folder / "qrels.tsv"

    def documents(self) -> Iterator[tuple[str, str, str]]:
        """Id, title, text."""
        plain = self.folder / "docs.jsonl"
        packed = self.folder / "docs.jsonl.gz"
        data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
        for line in data.decode().rstrip("\n").split("\n"):
            document = json.loads(line)
            yield document["id"], document["title"], document["text"]

    def load(self, connection: psycopg.Connection) -> int:
        """Fill a table of the collection's name (id text, title, body).

        Returns:
            The number of documents.
        """
        table = psycopg.sql.Identifier(self.name)
        connection.execute(
            psycopg.sql.SQL("CREATE TABLE {} (id text PRIMARY KEY, title text, body text)").format(
                table
            )
        )
        count = 0
        statement = psycopg.sql.SQL("COPY {} FROM STDIN").format(table)
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for document in self.documents():
                copy.write_row(document)
                count += 1
        return count

    def index(self, connection: psycopg.Connection, name: str, **options: Any) -> None:
        """Declare an index on the table that ``load`` made; its rows wait to be embedded.

        Args:
            connection: In autocommit mode.
            name: Of the index.
            options: Of the declaration.
        """
        source = describe_source(connection, self.name)
        spec = IndexSpec(
            name=name,
            table=source.name,
            schema=source.schema,
            key=source.key,
            text=("title", "body"),
            **({"dimensions": 384} | options),
        )
        create_index(connection, spec, source)


def find_collections(*names: str) -> list[Collection]:
    """The named collections under ``EMBEDSQL_DATASETS``, else ``../shared/datasets``."""
    named = os.environ.get("EMBEDSQL_DATASETS")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "datasets"
    return [Collection(name, folder / name) for name in names if (folder / name).is_dir()]
