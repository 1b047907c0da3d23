from __future__ import annotations

import importlib.resources

import pytest

from embedsql import SchemaVersionError
from embedsql.schema import LATEST, UP, downgrade_sql, upgrade_sql
from embedsql.sqlfile import read, split

VERSIONS = range(1, LATEST + 1)


def file(version: int, name: str) -> str:
    return read("embedsql.schema", f"v{version:02}_{name}.sql")


def up(version: int) -> str:
    return "\n".join(file(version, name) for name in UP[version])


def test_every_file_of_the_folder_is_of_a_version() -> None:
    folder = importlib.resources.files("embedsql.schema")
    named = {f"v{version:02}_{name}.sql" for version in VERSIONS for name in (*UP[version], "down")}
    assert {one.name for one in folder.iterdir() if one.name.startswith("v")} == named


def test_an_upgrade_is_the_files_upwards() -> None:
    assert upgrade_sql(0) == "\n".join(up(version) for version in VERSIONS)
    assert upgrade_sql(LATEST - 1) == up(LATEST)


def test_a_downgrade_is_the_files_downwards() -> None:
    assert downgrade_sql(LATEST) == "\n".join(file(version, "down") for version in VERSIONS[::-1])
    assert downgrade_sql(LATEST, LATEST - 1) == file(LATEST, "down")


@pytest.mark.parametrize("version", range(LATEST + 1))
def test_a_version_to_itself_is_nothing(version: int) -> None:
    assert upgrade_sql(version, version) == ""
    assert downgrade_sql(version, version) == ""


@pytest.mark.parametrize(
    ("installed", "version"), [(-1, LATEST), (0, LATEST + 1), (LATEST, 0), (LATEST + 1, LATEST + 1)]
)
def test_an_upgrade_out_of_range_is_refused(installed: int, version: int) -> None:
    with pytest.raises(SchemaVersionError, match=f"0 .nothing. to {LATEST}"):
        upgrade_sql(installed, version)


@pytest.mark.parametrize(("installed", "version"), [(LATEST + 1, 0), (0, LATEST), (LATEST, -1)])
def test_a_downgrade_out_of_range_is_refused(installed: int, version: int) -> None:
    with pytest.raises(SchemaVersionError, match="no way"):
        downgrade_sql(installed, version)


def test_every_statement_of_the_files_is_found() -> None:
    for version in VERSIONS:
        for name in (*UP[version], "down"):
            whole = file(version, name)
            statements = split(whole)
            assert all(statement.endswith(";") for statement in statements)
            assert "".join("".join(statements).split()) == "".join(whole.split())


def test_a_body_between_dollar_tags_is_one_statement() -> None:
    script = "CREATE FUNCTION f() AS $f$\nSELECT $$a;\n$$;\n$f$;\nSELECT 1;\n"

    assert split(script) == ["CREATE FUNCTION f() AS $f$\nSELECT $$a;\n$$;\n$f$;", "SELECT 1;"]
