from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType

import pytest
from typer.testing import CliRunner

import embedsql
from embedsql import EmbedsqlError, errors
from embedsql.cli import app

HEAVY = ("torch", "sentence_transformers", "alembic", "psycopg", "typer")

# what an importing process looks like afterwards
CODE = """
import json, pathlib, sys, threading
import embedsql
children = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/children")]
print(json.dumps({
    "modules": sorted(sys.modules),
    "threads": threading.active_count(),
    "children": "".join(children).split(),
}))
"""


def error_classes() -> dict[str, type[Exception]]:
    return {
        name: found
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, Exception)
    }


def drawn_tree() -> dict[str, str]:
    """Each error of the docstring's drawing with the one it hangs from."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"([│├└─ ]*)(\w+Error)( .*)?", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1] if depth else ""
    return parents


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    public = {
        name
        for name, found in vars(embedsql).items()
        if not name.startswith("_")
        and not isinstance(found, ModuleType)
        and getattr(found, "__module__", "").startswith("embedsql")
    }

    assert embedsql.__all__ == sorted(embedsql.__all__)
    assert len(set(embedsql.__all__)) == len(embedsql.__all__)
    assert set(embedsql.__all__) == public


def test_every_public_name_says_what_it_is() -> None:
    for name in embedsql.__all__:
        assert inspect.getdoc(getattr(embedsql, name)), name


def test_every_error_is_public_and_under_the_root() -> None:
    for name, found in error_classes().items():
        assert issubclass(found, EmbedsqlError), name
        assert name in embedsql.__all__


def test_the_drawn_tree_is_the_tree() -> None:
    classes = error_classes()
    parents = {
        name: next(
            (base.__name__ for base in found.__bases__ if issubclass(base, EmbedsqlError)), ""
        )
        for name, found in classes.items()
    }

    assert drawn_tree() == parents


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("MissingExtraError", ImportError),
        ("DeclarationError", ValueError),
        ("QueryError", ValueError),
        ("IndexNotFoundError", LookupError),
    ],
)
def test_an_error_drawn_as_a_builtin_one_is_it(name: str, builtin: type[Exception]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if name in line)

    assert issubclass(error_classes()[name], builtin)
    assert f"also {'an' if builtin is ImportError else 'a'} {builtin.__name__}" in line


def test_importing_loads_nothing_heavy_and_starts_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE], capture_output=True, text=True, check=True
    )
    seen = json.loads(result.stdout)

    assert not {module.partition(".")[0] for module in seen["modules"]} & set(HEAVY)
    assert seen["threads"] == 1
    assert seen["children"] == []
    assert result.stderr == ""


def test_the_command_says_its_release() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.stdout) == (0, f"embedsql {version('embedsql')}\n")
