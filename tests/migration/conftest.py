from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.migration.application import Application


@pytest.fixture
def new_application(tmp_path: Path, empty_database: str) -> Callable[..., Application]:
    """Makes applications with a history of their own on one database that is empty at first."""

    def make(name: str = "app", database: str | None = None, **options: Any) -> Application:
        return Application(tmp_path / name, database or empty_database, **options)

    return make


@pytest.fixture
def application(new_application: Callable[..., Application]) -> Application:
    return new_application()
