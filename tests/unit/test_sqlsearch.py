from __future__ import annotations

import re
from typing import Any

import pytest

from embedsql.key import KeyColumn
from embedsql.search.query import Mode, SearchTuning
from embedsql.spec import IndexSpec
from embedsql.sqlsearch import function_statements
from embedsql.sqlsearch.template import LIMIT, SPACE, TEXT, VECTOR, search_template

VARIANTS: list[dict[str, Any]] = [
    {},
    {"quantization": "halfvec"},
    {"quantization": "bit"},
    {"quantization": "int8"},
    {"index_dimensions": 32},
    {"index": "ivfflat"},
    {"metric": "inner_product"},
    {"storage": "column", "chunking": None},
]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


def spec(**options: Any) -> IndexSpec:
    declared: dict[str, Any] = {
        "name": "article_search",
        "table": "article",
        "key": (KeyColumn("id", "bigint"),),
        "text": ("body",),
        "model": "hash:64",
        "dimensions": 64,
    }
    return IndexSpec(**(declared | options))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_the_arguments_that_a_mode_needs_stand_in_the_statement(
    mode: Mode, options: dict[str, Any]
) -> None:
    template = search_template(spec(**options), mode, SearchTuning())

    used = {name for name in (TEXT, VECTOR, SPACE) if name in template.sql}
    dense = {VECTOR, SPACE}
    assert used == {"hybrid": dense | {TEXT}, "dense": dense, "lexical": {TEXT}}[mode]
    # an SQL expression that Python formatted, or a bind that nobody fills
    assert "BinaryExpression" not in template.sql
    assert not re.search(r"(?<!:):[a-z]\w*", template.sql)
    assert template.sql.rstrip().endswith(f"LIMIT {LIMIT}")


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_window_grows_with_k(options: dict[str, Any]) -> None:
    declared = spec(**options)
    sql = search_template(declared, "dense", SearchTuning()).sql
    looked_at = declared.vectors.oversample

    assert "greatest(100, $2)" in sql
    assert looked_at == (6 if options.keys() & {"index_dimensions"} or "BIT(" in sql else 2)
    assert f"least(greatest(greatest(100, $2) * {looked_at}, 40), 1000)" in sql


def test_a_name_that_closes_a_dollar_quote_closes_nothing() -> None:
    for statement in function_statements(spec(name="$embedsql$ $embedsql1$")):
        for tag in set(re.findall(r"\$embedsql\d*\$", statement)):
            if tag in ("$embedsql$", "$embedsql1$"):
                continue
            assert statement.count(tag) == 2
            break
