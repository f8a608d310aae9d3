"""A low-code manifest of a user's own, run by airbyte-cdk from the package index in the one environment for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from tests.integration.command import succeed, syncline

from syncline.core.errors import POLICY, ErrorKind
from syncline.testing.saas.api_server import ApiServer, Asked, Reply

MANIFEST = Path(__file__).resolve().parents[3] / "examples" / "manifests" / "time-entries.yaml"
TOKEN = "pat-3f9c2e7b11"


class _Entries:
    def __init__(self) -> None:
        self.rows = [self.row(i) for i in range(250)]
        self.refuse = False

    @staticmethod
    def row(number: int, **more: Any) -> dict[str, Any]:
        at = f"2026-01-{number // 24 % 28 + 1:02}T{number % 24:02}:00:00Z"
        return {"id": number, "hours": number / 4, "note": "", "updated_at": at, **more}

    def __call__(self, asked: Asked) -> Any:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if token != TOKEN or self.refuse:
            return Reply(status=401, body={"error": f"the token {token} is not known"})
        found = [r for r in self.rows if r["updated_at"] >= asked.query.get("updated_since", "")]
        start = int(asked.query.get("offset", 0))
        return {"entries": found[start : start + int(asked.query["limit"])]}


def _project(folder: Path, source: dict[str, Any]) -> Path:
    path = folder / "p.yaml"
    destination = {"type": "duckdb", "config": {"destination_path": str(folder / "out.duckdb")}}
    data = {"name": "m", "source": {"type": "airbyte", "config": source}, "destination": destination}
    path.write_text(yaml.safe_dump({**data, "sync": {"mode": "incremental"}}))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.clients
def test_a_manifest_from_a_file(folder: Path) -> None:
    entries = _Entries()
    with ApiServer(entries) as api:
        project = _project(folder, {"manifest": str(MANIFEST), "config": {"pat": TOKEN, "base_url": api.url}})
        missing = syncline("sync", project)
        assert "syncline connectors install airbyte-cdk" in missing.err
        done = syncline("connectors", "install", "manifest", "--json")
        if done.code != 0 and "package index" in done.err:
            pytest.skip("no package index can be reached")
        assert done.code == 0, done.text
        succeed("check", project)
        assert "entries" in succeed("discover", project).out
        assert succeed("sync", project, "--json").json["streams"][0]["rows_read"] == 250
        entries.rows[7] = _Entries.row(9999, id=7, note="changed")
        entries.rows.append(_Entries.row(300, updated_at="2026-02-01T00:00:00Z"))
        again = succeed("sync", project, "--json").json["streams"][0]
        assert again["rows_read"] < 50, "only what changed, and the last value again"
        with duckdb.connect(str(folder / "out.duckdb"), read_only=True) as con:
            assert con.execute("SELECT count(*), count(DISTINCT id), max(id) FROM entries").fetchone() == (
                251,
                251,
                300,
            )
        # The same manifest as a value, as the API stores it.
        inline = {"manifest": yaml.safe_load(MANIFEST.read_text()), "config": {"pat": TOKEN, "base_url": api.url}}
        succeed("check", _project(folder, inline))
        entries.refuse = True
        refused = syncline("sync", project, "--attempts", "1")
        assert refused.code != 0
        assert TOKEN not in refused.text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"manifest": "/nowhere/manifest.yaml"}, "cannot be read"),
        ({"manifest": {"type": "DeclarativeSource"}}, "it has no version"),
        ({"manifest": {"version": "1", "type": "Other", "streams": []}}, "its type is Other"),
        ({"manifest": str(MANIFEST), "package": "stripe"}, "give one of package, executable, command and manifest"),
        ({"manifest": str(MANIFEST), "config": {}}, "the manifest requires 'pat'"),
        ({"manifest": str(MANIFEST), "config": {"pat": TOKEN, "base_ulr": "x"}}, "did you mean 'base_url'?"),
        (
            {
                "manifest": {
                    "version": "1",
                    "type": "DeclarativeSource",
                    "streams": [{"retriever": {"type": "CustomRetriever", "class_name": "source.MyRetriever"}}],
                }
            },
            "needs Python code of its own at streams.0.retriever",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(folder: Path, source: dict[str, Any], words: str) -> None:
    # Installed or not: the manifest is looked at first.
    done = syncline("sync", _project(folder, source), "--attempts", "1")
    assert done.code == POLICY[ErrorKind.CONFIG].exit_code, done.text
    assert words in done.text
    assert TOKEN not in done.text
