"""The demo's rows: real documentation, read without importing what it documents."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from inspect import cleandoc
from pathlib import Path

import pytest

from examples.stdlib_docs import LONGEST, SHORTEST, StdlibDoc, read_stdlib_docs

ROOT = Path(__file__).parents[2]

READ_AND_COMPARE = """
import sys
from examples.stdlib_docs import read_stdlib_docs
before = set(sys.modules)
assert sum(1 for _ in read_stdlib_docs(limit=10**6)) > 1500
print(sorted(set(sys.modules) - before))
"""


@pytest.fixture(scope="module")
def docs() -> Mapping[str, StdlibDoc]:
    return {doc.name: doc for doc in read_stdlib_docs()}


def test_there_are_about_two_thousand(docs: Mapping[str, StdlibDoc]) -> None:
    assert 1500 <= len(docs) <= 2500


def test_names_are_unique_and_the_order_is_always_the_same(docs: Mapping[str, StdlibDoc]) -> None:
    assert [doc.name for doc in read_stdlib_docs(limit=300)] == list(docs)[:300]


def test_a_function_has_its_signature_and_its_documentation(docs: Mapping[str, StdlibDoc]) -> None:
    found = docs["subprocess.run"]
    assert found.kind == "function"
    assert found.signature.startswith("(*popenargs, input=None, capture_output=False")
    assert found.doc == cleandoc(subprocess.run.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "kind", "signature"),
    [
        ("json", "module", ""),
        ("subprocess.Popen.communicate", "method", "(input=None, timeout=None)"),
        ("datetime.date.fromisoformat", "method", "(date_string)"),  # a class method
        ("pathlib.PurePath.suffix", "property", ""),
        ("textwrap.dedent", "function", "(text)"),
    ],
)
def test_each_kind(docs: Mapping[str, StdlibDoc], name: str, kind: str, signature: str) -> None:
    assert (docs[name].kind, docs[name].signature) == (kind, signature)


@pytest.mark.parametrize(
    "name",
    ["json.JSONDecoder", "asyncio.gather", "concurrent.futures.Future", "os.path.commonprefix"],
)
def test_names_are_those_one_imports(docs: Mapping[str, StdlibDoc], name: str) -> None:
    assert name in docs


def test_nothing_private_short_or_of_a_test(docs: Mapping[str, StdlibDoc]) -> None:
    parts = {part for name in docs for part in name.split(".")}
    assert not [part for part in parts if part.startswith("_")]
    assert parts.isdisjoint({"tests", "idlelib", "lib2to3", "turtledemo"})
    assert min(len(doc.doc) for doc in docs.values()) >= SHORTEST


def test_a_long_one_ends_with_a_whole_paragraph(docs: Mapping[str, StdlibDoc]) -> None:
    whole = cleandoc(json.__doc__ or "").strip()
    shortened = docs["json"].doc
    assert len(shortened) <= LONGEST < len(whole)
    assert whole.startswith(shortened + "\n\n")


def test_the_limit_bounds_the_rows() -> None:
    assert [doc.name for doc in read_stdlib_docs(limit=1)] == ["subprocess"]


def test_a_folder_without_sources_gives_no_rows(tmp_path: Path) -> None:
    assert list(read_stdlib_docs(root=tmp_path)) == []


@pytest.mark.exhaustive
def test_reading_imports_nothing() -> None:
    # in a fresh interpreter: here, other tests may have imported anything
    result = subprocess.run(
        [sys.executable, "-c", READ_AND_COMPARE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"
