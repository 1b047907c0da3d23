from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from psycopg.conninfo import conninfo_to_dict

from embedsql import ConfigurationError
from embedsql.embedded import EmbeddedServer
from embedsql.settings import Settings

OURS, COMMON, GIVEN = (f"postgresql://{host}/d" for host in ("ours", "common", "given"))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EMBEDSQL_DATABASE_URL", "DATABASE_URL", "EMBEDSQL_HOME", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def chosen(database_url: str | None = None) -> object:
    return conninfo_to_dict(Settings().conninfo(database_url))["host"]


def test_the_argument_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDSQL_DATABASE_URL", OURS)
    monkeypatch.setenv("DATABASE_URL", COMMON)

    assert chosen(GIVEN) == "given"


def test_our_variable_comes_before_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", COMMON)
    assert chosen() == "common"

    monkeypatch.setenv("EMBEDSQL_DATABASE_URL", OURS)
    assert chosen() == "ours"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDSQL_DATABASE_URL", "")
    monkeypatch.setenv("DATABASE_URL", COMMON)

    assert chosen("") == "common"


def test_without_any_url_the_embedded_server_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Path] = []

    def start(server: EmbeddedServer) -> str:
        started.append(server.home)
        return "postgresql://embedded/d"

    monkeypatch.setattr(EmbeddedServer, "start", start)
    monkeypatch.setenv("EMBEDSQL_HOME", str(tmp_path))

    assert chosen() == "embedded"
    assert started == [tmp_path]


def test_the_embedded_server_is_left_alone_where_an_url_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(server: EmbeddedServer) -> str:
        raise AssertionError("started")

    monkeypatch.setattr(EmbeddedServer, "start", start)
    monkeypatch.setenv("DATABASE_URL", COMMON)

    assert chosen() == "common"


def test_the_home_is_the_users_data_folder_unless_moved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings().home == Path(platformdirs.user_data_dir("embedsql"))

    monkeypatch.setenv("EMBEDSQL_HOME", str(tmp_path / "moved"))
    assert Settings().home == tmp_path / "moved"
    assert Settings().embedded_server().home == tmp_path / "moved"
    assert not (tmp_path / "moved").exists()


def test_a_tilde_in_the_home_is_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDSQL_HOME", "~/somewhere")

    assert Settings().embedded_server().home == Path.home() / "somewhere"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDSQL_DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2")
    settings = Settings()

    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-hunter2"
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_an_url_of_another_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@h/d")

    with pytest.raises(ConfigurationError) as caught:
        chosen()
    assert "hunter2" not in str(caught.value)
