"""The map of the modules in CONTRIBUTING.md is complete, and names nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import embedsql

PACKAGE = Path(embedsql.__file__).parent
MAP = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_module_is_on_the_map_once() -> None:
    rows = [line.split("|")[1] for line in MAP.splitlines() if line.startswith("| `")]
    mapped = sorted(name for row in rows for name in re.findall(r"`([^`]+)`", row))
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    packages = [f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")]

    assert mapped == sorted(modules + packages)
