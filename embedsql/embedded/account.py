"""Which operating-system account runs the server, and which folders that account can reach.

PostgreSQL refuses to run as root. An ordinary user runs the server as himself; root runs it
under a system account made for it, in a folder that this account can reach, without touching
the permissions of any folder that was there before.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from embedsql.errors import EmbeddedPostgresError

SYSTEM_USER = "embedsql-postgres"
SYSTEM_HOME = Path("/var/lib/embedsql")


@dataclass(frozen=True)
class Account:
    """The account that runs the server; ``switch`` is true where we are root and must become it."""

    uid: int
    gid: int
    switch: bool

    def can_reach(self, path: Path) -> bool:
        """Whether this account may enter every existing folder on the way to ``path``."""
        if not self.switch:
            return True
        return all(
            _allows(folder.stat(), self.uid, self.gid, stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH)
            for folder in (path, *path.parents)
            if folder.is_dir()
        )

    def can_read(self, path: Path) -> bool:
        """Whether this account may reach and read ``path``."""
        return self.can_reach(path.parent) and _allows(
            path.stat(), self.uid, self.gid, stat.S_IRUSR, stat.S_IRGRP, stat.S_IROTH
        )

    def make_private_folder(self, path: Path) -> None:
        """Make ``path``, closed to everyone but this account.

        Raises:
            EmbeddedPostgresError: It exists and belongs to someone else.
        """
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            found = path.stat()
            if found.st_uid != self.uid:
                raise EmbeddedPostgresError(
                    f"{path} belongs to user id {found.st_uid}, not to {self.uid}, which would "
                    "run the server. Remove it, or choose another EMBEDSQL_HOME."
                ) from None
            return
        if self.switch:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """The account for the server, made on first use where we are root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _create_system_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return Account(entry.pw_uid, entry.pw_gid, switch=True)


def server_folder(home: Path, account: Account) -> Path:
    """Where the server's files live.

    Under ``home``, or, where its account cannot get there (root's own home folder, say), under
    ``/var/lib/embedsql``, one folder for each ``home``.
    """
    if account.can_reach(home):
        return home / "postgres"
    SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    return SYSTEM_HOME / hashlib.sha256(os.fsencode(home)).hexdigest()[:12]


def _allows(found: os.stat_result, uid: int, gid: int, user: int, group: int, other: int) -> bool:
    if found.st_uid == uid:
        return bool(found.st_mode & user)
    if found.st_gid == gid:
        return bool(found.st_mode & group)
    return bool(found.st_mode & other)


def _create_system_user() -> None:
    commands = (
        ["useradd", "--system", "--user-group", "--home-dir", "/nonexistent", SYSTEM_USER],
        ["adduser", "-S", "-D", "-H", "-s", "/sbin/nologin", SYSTEM_USER],  # busybox
    )
    for command in commands:
        if shutil.which(command[0]) is None:
            continue
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and no system account could be made for it. Run as an "
        f"ordinary user, or create the account {SYSTEM_USER!r}, or set EMBEDSQL_DATABASE_URL to "
        "a server of your own."
    )
