"""What the documentation says is so: generated pages are current, settings are described, links lead somewhere, YAML
loads, examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import yaml

from syncline.service.project import load_project
from syncline.testing.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def test_generated_pages_are_current() -> None:
    # In a process of its own: tests register connectors in this one.
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run: make docs\n{done.stdout}{done.stderr}"


def test_every_setting_of_the_environment_is_described() -> None:
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("*.py") if "testing" not in p.parts)
    used = set(re.findall(r"SYNCLINE_[A-Z_]+", code))
    described = set(re.findall(r"SYNCLINE_[A-Z_]+", (ROOT / "docs/configuration.md").read_text(encoding="utf-8")))
    assert used <= described


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_projects_in_the_pages_load(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
        data = yaml.safe_load(block)
        if isinstance(data, dict) and ({"source", "destination"} <= data.keys() or "connections" in data):
            path = tmp_path / f"{number}.yaml"
            path.write_text(block, encoding="utf-8")
            assert load_project(path).connections


def _environment(server: PostgresServer, database: str, folder: Path) -> dict[str, str]:
    params = server.params(database)
    return {
        **os.environ,
        "PGHOST": str(params["host"]),
        "PGPORT": str(params["port"]),
        "PGDATABASE": database,
        "PGUSER": str(params["user"]),
        "PGPASSWORD": str(params["password"]),
        "SYNCLINE_HOME": str(folder / "home"),
    }


def _command(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "syncline", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def shop(postgres_server: PostgresServer, postgres_db: str) -> str:
    with psycopg.connect(postgres_server.dsn(postgres_db), autocommit=True) as connection:
        for table in ("orders", "customers"):
            connection.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, name text, updated_at timestamptz)")
            connection.execute(f"INSERT INTO {table} SELECT g, 'n' || g, now() FROM generate_series(1, 100) g")
            connection.execute(f"CREATE INDEX ON {table} (updated_at)")
    return postgres_db


@pytest.mark.parametrize(
    "example",
    [
        "postgres-to-duckdb.yaml",
        "postgres-to-many.yaml",
        "csv-to-postgres.yaml",
        pytest.param("postgres-to-lake.yaml", marks=pytest.mark.slow),
        pytest.param("fan-out.yaml", marks=pytest.mark.slow),
    ],
)
def test_examples_run(example: str, postgres_server: PostgresServer, shop: str, tmp_path: Path) -> None:
    environment = _environment(postgres_server, shop, tmp_path)
    environment["REPLICA_DATABASE"] = postgres_server.create_database()
    environment["CSV_FOLDER"] = str(tmp_path / "csv")
    for name, text in (
        ("events/2026/1.csv", "id,at,what\n1,2026-11-21T10:00:00Z,signed up\n2,2026-11-21T10:00:01Z,\n"),
        ("prices/a.csv", "sku;price\nA1;9.99\nB2;12\n"),
        ("prices/b.csv", "sku;price\nB2;13.5\n"),
    ):
        path = tmp_path / "csv" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    text = (
        (ROOT / "examples" / example).read_text(encoding="utf-8").replace("    port: 5432\n", "    port: ${PGPORT}\n")
    )
    (tmp_path / example).write_text(text, encoding="utf-8")
    for command in ("check", "sync", "sync", "verify"):
        _command([command, example], tmp_path, environment)


def test_the_readme_path_of_a_newcomer(postgres_server: PostgresServer, shop: str, tmp_path: Path) -> None:
    """``init`` writes a file that works once the environment names a database."""
    environment = _environment(postgres_server, shop, tmp_path)
    _command(["init", "my.yaml"], tmp_path, environment)
    project = tmp_path / "my.yaml"
    project.write_text(project.read_text(encoding="utf-8").replace("port: 5432", "port: ${PGPORT}"), encoding="utf-8")
    _command(["check", "my.yaml"], tmp_path, environment)
    _command(["sync", "my.yaml"], tmp_path, environment)
    assert "equal" in _command(["verify", "my.yaml"], tmp_path, environment)
    assert "public.orders" in _command(["state", "show", "my.yaml"], tmp_path, environment)
    _command(["state", "reset", "my.yaml", "--yes"], tmp_path, environment)
    _command(["sync", "my.yaml"], tmp_path, environment)
    assert "equal" in _command(["verify", "my.yaml"], tmp_path, environment)


@pytest.mark.slow
def test_the_demo_ends_well(tmp_path: Path) -> None:
    output = _command(["demo", "--dir", str(tmp_path / "demo")], tmp_path, dict(os.environ))
    # Four tables in the lake and four in DuckDB, then the four of the followed log at one LSN.
    assert output.count(": equal (") == 12
