"""Real processes: the installed ``embedsql`` command against a fresh database."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.warm_command import WarmCommand

COMMAND = Path(sysconfig.get_path("scripts")) / "embedsql"


@cache
def _warm() -> WarmCommand:
    started = WarmCommand()
    atexit.register(started.close)
    return started


@dataclass(frozen=True)
class Embedsql:
    """Runs the command with a database URL in its environment."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "EMBEDSQL_DATABASE_URL": self.url, "PYTHONUNBUFFERED": "1"}

    def run(self, *arguments: str, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        result = _warm().run(arguments, self.environment)
        said = f"{arguments}\n{result.stdout}\n{result.stderr}"
        assert result.returncode == exit_code, said
        return result

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", exit_code=exit_code).stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *arguments], env=self.environment, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def embedsql(database: str) -> Embedsql:
    return Embedsql(database)


@pytest.fixture
def slow_endpoint() -> Iterator[Callable[[float], str]]:
    """Starts OpenAI-compatible servers that take their time; gives base URLs."""
    running: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> str:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "slow_endpoint.py", str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
