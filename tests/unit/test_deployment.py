from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKERS = ROOT / "workers"
COMPOSE = ROOT / "docker-compose.yml"
MEGABYTES = {"mb": 1, "gb": 1024}

Command = tuple[str, ...]


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def service(name: str) -> Any:
    return read_yaml(COMPOSE)["services"][name]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def unit_lines(key: str) -> list[str]:
    text = (WORKERS / "embedsql-worker.service").read_text()
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def pod() -> Any:
    return read_yaml(WORKERS / "kubernetes.yaml")["spec"]["template"]["spec"]


def instructions(name: str) -> list[str]:
    """The arguments of each such instruction of the Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", (WORKERS / "Dockerfile").read_text())
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def image_command() -> Command:
    entrypoint, command = instructions("ENTRYPOINT")[-1], instructions("CMD")[-1]
    return (*json.loads(entrypoint), *json.loads(command))


def copied() -> set[str]:
    """What the Dockerfile takes from the repository."""
    return {
        source
        for arguments in instructions("COPY")
        if "--from=" not in arguments
        for source in arguments.split()[:-1]
    }


def commands_cited(text: str) -> Iterator[Command]:
    """The arguments of each ``embedsql …`` in code: fenced blocks and what stands in backticks."""
    fence = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    code = [line for block in fence.findall(text) for line in block.splitlines()]
    code += re.findall(r"`([^`\n]+)`", fence.sub("", text))
    for line in code:
        for rest in re.findall(r"(?:^|[\s/])embedsql ([^#].*)", line):
            yield tuple(shlex.split(rest, comments=True))


def commands_run() -> Iterator[Command]:
    """The arguments of each ``embedsql`` that image, compose file, unit and manifest start."""
    yield image_command()[1:]
    yield tuple(service("worker").get("command", image_command()[1:]))
    yield from (tuple(shlex.split(line)[1:]) for line in unit_lines("ExecStart"))
    yield from (tuple(container["args"]) for container in pod()["containers"])


def all_commands() -> list[Command]:
    texts = [COMPOSE, *(path for path in WORKERS.iterdir() if path.is_file())]
    cited = {command for path in texts for command in commands_cited(path.read_text())}
    return sorted(cited | set(commands_run()))


def megabytes(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([a-z]+)", size.lower()).groups()  # type: ignore[union-attr]
    return int(number) * MEGABYTES[unit]


def test_compose_runs_database_then_migrations_then_worker() -> None:
    assert list(read_yaml(COMPOSE)["services"]) == ["db", "migrate", "worker"]
    assert "pg_isready" in service("db")["healthcheck"]["test"]
    assert service("migrate")["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert service("worker")["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"}
    }


def test_compose_migrations_run_once() -> None:
    migrate = service("migrate")
    assert [*migrate["entrypoint"], *migrate["command"]] == ["alembic", "upgrade", "head"]
    assert "restart" not in migrate


def test_compose_worker_runs_the_image_that_migrate_builds() -> None:
    build = service("migrate")["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).samefile(WORKERS / "Dockerfile")
    assert service("worker")["image"] == service("migrate")["image"]


def test_compose_clients_name_the_database_that_db_makes() -> None:
    from psycopg.conninfo import conninfo_to_dict

    made = service("db")["environment"]
    for client in ("migrate", "worker"):
        environment = service(client)["environment"]
        url = conninfo_to_dict(environment["EMBEDSQL_DATABASE_URL"])
        assert (url["host"], url["dbname"]) == ("db", made["POSTGRES_DB"])
        assert url["user"] == made["POSTGRES_USER"]
        assert environment["PGPASSWORD"] == made["POSTGRES_PASSWORD"]


def test_compose_database_listens_on_loopback_only() -> None:
    assert all(port.startswith("127.0.0.1:") for port in service("db")["ports"])


def test_compose_database_has_the_pgvector_we_recommend() -> None:
    from embedsql.installation import RECOMMENDED_PGVECTOR

    tag = service("db")["image"].removeprefix("pgvector/pgvector:")
    version, _, _ = tag.partition("-pg")
    assert tuple(map(int, version.split("."))) >= RECOMMENDED_PGVECTOR


def test_compose_volume_holds_the_data_folder_of_the_image() -> None:
    major = int(re.search(r"-pg(\d+)", service("db")["image"])[1])  # type: ignore[index]
    (volume,) = service("db")["volumes"]
    name, folder = volume.split(":")
    assert name in read_yaml(COMPOSE)["volumes"]
    # from 18 on a volume one level deeper stays empty, and the data goes with the container
    assert folder == ("/var/lib/postgresql" if major >= 18 else "/var/lib/postgresql/data")


def test_compose_shared_memory_holds_a_parallel_index_build() -> None:
    settings = dict(word.split("=") for word in service("db")["command"] if "=" in word)
    assert megabytes(service("db")["shm_size"]) >= megabytes(settings["maintenance_work_mem"])


@pytest.mark.parametrize("path", sorted(copied()))
def test_dockerfile_copies_what_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_dockerignore_lets_through_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == copied()


def test_dockerfile_copies_what_the_migrations_import() -> None:
    imported = {
        (node.module or "").partition(".")[0]
        for path in (ROOT / "migrations").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    ours = {name for name in imported if name and (ROOT / name).is_dir()}
    assert ours <= copied()
    assert {"migrations", "pyproject.toml"} <= copied()


def test_dockerfile_copies_what_the_package_is_built_from() -> None:
    project = pyproject()["project"]
    assert {project["readme"], *project["license-files"], "embedsql"} <= copied()


def test_dockerfile_installs_extras_that_exist() -> None:
    (extras,) = [
        found for line in instructions("RUN") for found in re.findall(r"\.\[(.+?)\]", line)
    ]
    assert set(extras.split(",")) <= set(pyproject()["project"]["optional-dependencies"])


def test_dockerfile_installs_the_torch_of_the_demo() -> None:
    (version,) = [arg for arg in instructions("ARG") if arg.startswith("TORCH_VERSION=")]
    wanted = version.removeprefix("TORCH_VERSION=")
    assert f"torch=={wanted}" in pyproject()["project"]["optional-dependencies"]["demo"]


def test_image_ends_on_sigterm_and_is_not_root() -> None:
    # exec form: a shell in between would keep the signal to itself
    assert image_command()[0] == "embedsql"
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])


def test_kubernetes_runs_as_the_user_of_the_image() -> None:
    context = pod()["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == instructions("USER")[-1]
    assert context["runAsNonRoot"] is True


def test_kubernetes_reads_the_database_url_from_a_secret() -> None:
    (container,) = pod()["containers"]
    sources = {variable["name"]: variable.get("valueFrom", {}) for variable in container["env"]}
    secret = sources["EMBEDSQL_DATABASE_URL"]["secretKeyRef"]
    created = f"create secret generic {secret['name']} --from-literal={secret['key']}="
    assert created in (WORKERS / "README.md").read_text()


def test_systemd_unit_asks_with_sigterm_and_waits() -> None:
    assert unit_lines("KillSignal") == ["SIGTERM"]
    assert unit_lines("Restart") == ["on-failure"]
    assert int(unit_lines("TimeoutStopSec")[0]) >= 30
    # torch compiles kernels as it runs
    assert unit_lines("MemoryDenyWriteExecute") in ([], ["no"])


def test_readme_names_the_lease_and_the_polling_interval_that_are_true() -> None:
    from embedsql.worker import WorkerOptions

    text = " ".join((WORKERS / "README.md").read_text().split())
    assert f"the lease, {WorkerOptions().lease:g} s by default" in text
    assert f"by polling, every {WorkerOptions().poll_interval:g} s" in text


def test_commands_are_found_where_they_are_cited() -> None:
    assert {("worker",), ("worker", "--drain"), ("dead", "list"), ("verify", "--repair")} <= set(
        all_commands()
    )


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_command_of_the_deployment_files_exists(command: Command) -> None:
    import typer

    from embedsql.cli import app

    found: Any = typer.main.get_command(app)
    words = list(command)
    while hasattr(found, "commands"):
        assert words, "a group, not a command"
        assert words[0] in found.commands
        found = found.commands[words.pop(0)]
    # parses the rest, as it would be at the prompt, and runs nothing
    found.make_context(found.name, words).close()
