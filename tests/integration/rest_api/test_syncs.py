"""Whole syncs by the command line: ugly values, a run that breaks and the next one, appended rows once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from tests.integration.command import postgres, project, succeed, syncline

from syncline.core.errors import POLICY, ErrorKind
from syncline.testing.postgres_server import PostgresServer
from syncline.testing.saas.api_server import ApiServer, Asked

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "tok-3f9c2e7b11"


def _source(api: ApiServer, **config: Any) -> dict[str, Any]:
    auth = {"type": "bearer", "token": TOKEN}
    return {"type": "rest_api", "config": {"url": f"{api.url}/v1/things", "auth": auth, **config}}


def test_ugly_values_reach_postgres(postgres_server: PostgresServer, postgres_db: str, tmp_path: Path) -> None:
    rows = [
        {"id": 1, "Name": "", "select": None, 'odd "one"': "ünï\n\\N", "_x": [1, {"a": None}], "n": 2**63},
        {"id": 2, "Name": None, "select": True, 'odd "one"': "", "_x": {}, "n": -1},
        {"id": 3, "Name": "a\u0000b", "select": False, 'odd "one"': "\ud83d\ude00", "_x": "text", "n": 0.5},
        {"id": 4, "Name": "half \ud800", "select": None, 'odd "one"': "x" * 100_000, "_x": None, "n": 1e300},
    ]
    with ApiServer(lambda asked: rows) as api:
        path = project(tmp_path / "p.yaml", _source(api, primary_key="id"), postgres(postgres_server, postgres_db))
        done = succeed("sync", path, "--json").json["streams"][0]
        assert (done["rows_read"], done["rows_written"], done["rows_quarantined"]) == (4, 3, 1)
        with postgres_server.connect(postgres_db) as connection:
            query = 'SELECT id, "Name", "select", "odd ""one""", _x::text, n::text FROM things ORDER BY id'
            assert connection.execute(query).fetchall() == [
                (1, "", None, "ünï\n\\N", '[1, {"a": null}]', str(2**63)),
                (2, None, True, "", "{}", "-1"),
                (4, "half \\ud800", None, "x" * 100_000, None, "1" + "0" * 300),
            ]
            aside = connection.execute("SELECT count(*) FROM _syncline_quarantine").fetchone()
            assert aside == (1,)
        api._answer = lambda asked: b'[{"id": 5, "Name": NaN}]'
        broken = syncline("sync", path, "--attempts", "1")
        assert broken.code == POLICY[ErrorKind.DATA].exit_code, broken.text
        assert TOKEN not in broken.text


class _Things:
    """Rows by their time of change, a hundred a page; one page can be made to fail."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.served = 0

    def __call__(self, asked: Asked) -> Any:
        self.served += 1
        since, start = asked.query.get("since", ""), int(asked.query.get("cursor", 0))
        every = [{"id": i, "at": (BEGIN + timedelta(seconds=i)).isoformat()} for i in range(self.count)]
        found = [r for r in every if str(r["at"]) >= since.replace("Z", "+00:00")]
        more = start + 100 < len(found)
        return {"data": found[start : start + 100], "next": start + 100 if more else None}


def test_a_run_that_breaks_is_gone_on_with(tmp_path: Path) -> None:
    things = _Things(1000)
    with ApiServer(things) as api:
        destination = {"type": "duckdb", "config": {"destination_path": str(tmp_path / "out.duckdb")}}
        source = _source(
            api,
            pagination={"type": "cursor", "cursor_path": "next"},
            incremental={"cursor_field": "at", "parameter": "since"},
            schema={"properties": {"id": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}}},
        )
        path = project(tmp_path / "p.yaml", source, destination, mode="incremental_append")
        answer = api._answer

        def break_once(asked: Asked) -> Any:
            if asked.query.get("cursor") == "600":
                api._answer = answer
                return b'{"data": [{"id": 600'
            return things(asked)

        api._answer = break_once
        broken = syncline("sync", path, "--attempts", "1", "--json")
        assert broken.code == POLICY[ErrorKind.DATA].exit_code, broken.text
        before = len(api.asked)
        succeed("sync", path)
        assert [a.query.get("cursor") for a in api.asked[before:]] == ["600", "700", "800", "900"]
        things.count = 1003
        succeed("sync", path)
        succeed("sync", path)
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(*), count(DISTINCT id), max(id) FROM things").fetchone() == (1003, 1003, 1002)
