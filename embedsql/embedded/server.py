"""Start, stop and find the embedded server."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from embedsql.embedded.account import Account, server_account, server_folder
from embedsql.embedded.binaries import binary_folder
from embedsql.embedded.configuration import server_settings
from embedsql.errors import EmbeddedPostgresError

DATABASE = "embedsql"
SUPERUSER = "postgres"
START_SECONDS = 60
# sun_path holds 104 bytes on macOS, 108 on Linux, the socket's own file name included
LONGEST_SOCKET_FOLDER = 104 - len("/.s.PGSQL.5432") - 1


@dataclass(frozen=True)
class ServerStatus:
    """What ``embedsql db status`` tells."""

    running: bool
    pid: int | None
    data: Path
    log: Path
    url: str


class EmbeddedServer:
    """The one embedded server of a home folder: PostgreSQL on a private Unix socket, no TCP.

    Args:
        home: The folder it belongs to; its files live there, or, where we are root and the
            server's account cannot enter that folder, under ``/var/lib/embedsql``.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().absolute()

    @property
    def url(self) -> str:
        """The URL of its database, whether or not it runs; psql and SQLAlchemy both take it."""
        host = quote(str(self._socket_folder(self._folder(server_account()))), safe="/")
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={host}"

    def start(self) -> str:
        """Start it unless it runs already.

        Returns:
            Its URL.

        Raises:
            EmbeddedPostgresError: It cannot run here; the message says why and what to do.
        """
        account = server_account()
        self._make_home()
        with self._locked():
            folder = self._folder(account)
            if not self._answers():
                folder.parent.mkdir(parents=True, exist_ok=True)
                account.make_private_folder(folder)
                account.make_private_folder(self._socket_folder(folder))
                self._launch(account, folder)
            self._ensure_database()
        return self.url

    def stop(self) -> bool:
        """Stop it.

        Returns:
            Whether it was running.
        """
        account = server_account()
        if not self.home.exists():
            return False
        with self._locked():
            folder = self._folder(account)
            if self._own_pid(folder) is None:
                return False
            command = ["pg_ctl", "stop", "--mode=fast", "--wait", "-D", str(folder / "data")]
            _run(account, command)
            return True

    def status(self) -> ServerStatus:
        """Whether it runs, and where its files are. Starts nothing."""
        folder = self._folder(server_account())
        running = self._answers()
        pid = self._own_pid(folder) if running else None
        return ServerStatus(running, pid, folder / "data", folder / "server.log", self.url)

    def _folder(self, account: Account) -> Path:
        return server_folder(self.home, account)

    def _make_home(self) -> None:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"cannot make the folder {self.home}: {error.strerror}. Set EMBEDSQL_HOME to a "
                "folder you can write."
            ) from error

    @staticmethod
    def _socket_folder(folder: Path) -> Path:
        beside = folder / "run"
        if len(os.fsencode(beside)) <= LONGEST_SOCKET_FOLDER:
            return beside
        return Path("/tmp") / f"embedsql-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One start or stop at a time, over all processes; the lock dies with its process."""
        with (self.home / "server.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _connect(self, database: str) -> psycopg.Connection:
        host = str(self._socket_folder(self._folder(server_account())))
        return psycopg.connect(
            host=host, user=SUPERUSER, dbname=database, connect_timeout=5, autocommit=True
        )

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _launch(self, account: Account, folder: Path) -> None:
        data = folder / "data"
        if not (data / "PG_VERSION").exists():
            _initialize(account, folder)
        settings = server_settings(self._socket_folder(folder))
        _write_as(account, data / "embedsql.conf", settings)
        if self._own_pid(folder) is None:
            # Left by a killed server. Its number may by now be some other program's, which
            # PostgreSQL would take for a running server and refuse to start.
            (data / "postmaster.pid").unlink(missing_ok=True)
            socket_lock = self._socket_folder(folder) / ".s.PGSQL.5432.lock"
            socket_lock.unlink(missing_ok=True)
        command = ["pg_ctl", "start", "--wait", "--timeout", str(START_SECONDS), "-D", str(data)]
        command += ["--log", str(folder / "server.log")]
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                _run(account, command)
                return
            except EmbeddedPostgresError as error:
                # children of a killed server keep its shared memory for a moment
                log = _tail(folder / "server.log")
                if "shared memory block" not in log or time.monotonic() > deadline:
                    raise EmbeddedPostgresError(f"{error} The end of its log:\n{log}") from error
                time.sleep(0.2)

    @staticmethod
    def _own_pid(folder: Path) -> int | None:
        """The pid in the pid file, if that process really is a server of this data folder."""
        try:
            pid = int((folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return pid if str(folder / "data") in _command_of(pid) else None

    def _ensure_database(self) -> None:
        with self._connect("postgres") as connection:
            found = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
            ).fetchone()
            if found is None:
                connection.execute("CREATE DATABASE embedsql")


def _command_of(pid: int) -> str:
    """The command line of a process; '' where there is none."""
    if Path("/proc/self/cmdline").exists():  # Linux; a slim image has no ps
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _initialize(account: Account, folder: Path) -> None:
    """Make the data folder, whole or not at all."""
    binary_folder(account)  # refuses before anything is made
    partial = Path(tempfile.mkdtemp(prefix="initdb-", dir=folder))
    if account.switch:
        os.chown(partial, account.uid, account.gid)
    command = ["initdb", "-D", str(partial), "--username", SUPERUSER, "--auth=trust"]
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
    command += ["--builtin-locale=C.UTF-8"]
    _run(account, command)
    with (partial / "postgresql.conf").open("a") as configuration:
        configuration.write("\ninclude 'embedsql.conf'\n")
    partial.rename(folder / "data")


def _write_as(account: Account, path: Path, text: str) -> None:
    path.write_text(text)
    if account.switch:
        os.chown(path, account.uid, account.gid)


def _run(account: Account, command: Sequence[str]) -> None:
    """Run one of the server's programs as ``account``; a server it starts outlives us."""
    program = binary_folder(account) / command[0]
    # files, not pipes: the server inherits them and would keep a pipe open for ever
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(
            [str(program), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
            extra_groups=[] if account.switch else None,
            check=False,
        )
        if result.returncode != 0:
            output.seek(0)
            said = " ".join(output.read().split())[-800:]
            raise EmbeddedPostgresError(f"{command[0]} of the embedded PostgreSQL failed: {said}")


def _tail(log: Path, characters: int = 1500) -> str:
    try:
        return log.read_text(errors="replace")[-characters:]
    except OSError:
        return ""
