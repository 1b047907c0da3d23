"""Other projects to measure beside this one, each in a virtual environment of its own.

They are installed at first use, in the user's cache folder, at pinned versions. The scripts of this
folder run inside those environments, by the peers' public interfaces, and print what they timed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path


class PeerAbsentError(Exception):
    """A peer cannot be installed here; says why."""


@dataclass(frozen=True)
class Peer:
    """A project to compare with.

    Attributes:
        name: As the report prints it, version included.
        requirements: What pip installs.
    """

    name: str
    requirements: tuple[str, ...]

    def run(
        self,
        program: str,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program of its environment, ``python`` or a script that it brings.

        Returns:
            What it printed.

        Raises:
            PeerAbsentError: The environment cannot be made.
            RuntimeError: The program failed; says its last words.
        """
        command = [str(self._binaries() / program), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {program} failed: {_last_words(done.stderr)}")
        return done.stdout

    def measure(self, script: str, settings: Mapping[str, Any]) -> dict[str, float]:
        """Run a script of this folder.

        Returns:
            The seconds of each way in which it did the work.

        Raises:
            PeerAbsentError: The environment cannot be made.
            RuntimeError: The script failed.
        """
        path = str(Path(__file__).parent / script)
        found: dict[str, float] = json.loads(self.run("python", [path, json.dumps(settings)]))
        return found

    def _binaries(self) -> Path:
        wanted = "\n".join((sys.version, *self.requirements))
        label = f"{self.name.split()[0]}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
        folder = user_cache_path("embedsql") / "peers" / label
        binaries = folder / ("Scripts" if sys.platform == "win32" else "bin")
        installed = folder / "installed"
        if not installed.exists():
            print(f"installing {self.name} …", file=sys.stderr)
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet"]
            done = subprocess.run(
                [*pip, *self.requirements], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise PeerAbsentError(
                    f"{self.name} cannot be installed here: {_last_words(done.stderr)}"
                )
            installed.touch()
        return binaries


def _last_words(output: str) -> str:
    return " ".join(output.strip().splitlines()[-2:]) or "it said nothing"


PGQUEUER = Peer("pgqueuer 1.6.0", ("pgqueuer[asyncpg]==1.6.0", "asyncpg==0.32.0"))
PROCRASTINATE = Peer("procrastinate 3.10.0", ("procrastinate==3.10.0", "psycopg[binary]==3.3.9"))
PGAI = Peer("pgai 0.12.1", ("pgai[vectorizer-worker]==0.12.1",))
BM25S = Peer("bm25s 0.3.16", ("bm25s==0.3.16",))
