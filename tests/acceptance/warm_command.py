"""The ``embedsql`` command, imported once: each run is a fork, a process of its own all the same.

Starting Python and importing the command takes longer than most of what tests ask of it. As a
program it reads a line of JSON for each run (arguments, environment, files for what is said) and
writes the run's exit code.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


class WarmCommand:
    """A running program of this file; runs one command at a time."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._busy = threading.Lock()

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """The exit code of a run, and what it said."""
        program = self._program
        assert program.stdin is not None
        assert program.stdout is not None
        with TemporaryDirectory() as folder, self._busy:
            said = [Path(folder) / name for name in ("out", "err")]
            asked = [list(arguments), dict(environment), os.getcwd(), *map(str, said)]
            print(json.dumps(asked), file=program.stdin, flush=True)
            code = int(program.stdout.readline())
            out, err = (file.read_text() for file in said)
        return subprocess.CompletedProcess(list(arguments), code, out, err)

    def close(self) -> None:
        """End it."""
        self._program.communicate()


def _serve() -> None:
    import embedsql.cli

    gc.freeze()  # else each fork looks for garbage in all of it as it ends, for a quarter second

    answers = os.fdopen(os.dup(1), "w")
    # read by hand: what a buffer holds would be read again by the forks
    while asked := _line():
        child = os.fork()
        if child == 0:
            _become(*json.loads(asked))
            embedsql.cli.main()
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _line() -> bytes:
    found = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        found += byte
    return found


def _become(arguments: list[str], environment: dict[str, str], folder: str, *said: Any) -> None:
    sys.argv = ["embedsql", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, file in enumerate(said, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)


if __name__ == "__main__":
    _serve()
