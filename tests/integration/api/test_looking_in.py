"""What the page's tabs ask: mappings with rows before and after, gates, quarantine, changes of the source. Over HTTP,
on a real Postgres and a DuckDB file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psycopg
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.server_process import PASSWORD, server_process
from tests.integration.api.test_running import patiently

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

OWN = "/api/syncline/v1"
TABLE = """
CREATE TABLE people (id int PRIMARY KEY, name text, email text, amount numeric);
INSERT INTO people VALUES (1, 'Ada', 'ada@example.com', 1.5), (2, '', 'no address', 'NaN'), (3, NULL, NULL, 3);
"""


class Shop:
    """One connection that copies the table ``people`` whole, on a server that asks nobody to sign in."""

    def __init__(self, client: httpx.Client, postgres: PostgresServer, database: str, path: Path, connection: str):
        self.client, self.postgres, self.database, self.path = client, postgres, database, path
        self.at = f"{OWN}/connections/{connection}"
        self.connection = connection

    def sql(self, *statements: str) -> None:
        self.postgres.execute(*statements, dbname=self.database)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path), read_only=True) as con:
            return con.execute(query).fetchall()

    def sync(self) -> dict[str, Any]:
        job = made(self.client, "/v1/jobs", {"connectionId": self.connection, "jobType": "sync"})
        with self.client.stream("GET", f"{OWN}/jobs/{job['jobId']}/logs/stream", timeout=120) as stream:
            for _ in stream.iter_bytes():
                pass
        return dict(self.client.get(f"/v1/jobs/{job['jobId']}").json())

    def look(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return patiently(self.client, method, self.at + path, **options)

    def refused(self, method: str, path: str, status: int, **options: Any) -> str:
        answer = self.client.request(method, self.at + path, timeout=60, **options)
        while answer.status_code == 409 and "look goes on" in answer.text:
            answer = self.client.request(method, self.at + path, timeout=60, **options)
        assert answer.status_code == status, answer.text
        return answer.text

    def audited(self) -> list[str]:
        return [each["action"] for each in self.client.get(f"{OWN}/audit?limit=5").json()["data"]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with server_process(tmp_path_factory.mktemp("api-looking-in"), SYNCLINE_AUTH="none") as server:
        yield server


@pytest.fixture
def shop(running: dict[str, str], postgres_server: PostgresServer, postgres_db: str, tmp_path: Path) -> Iterator[Shop]:
    postgres_server.execute(TABLE, dbname=postgres_db)
    params = postgres_server.params(postgres_db)
    source = {
        "sourceType": "postgres",
        "host": str(params["host"]),
        "port": int(str(params["port"])),
        "database": postgres_db,
        "username": str(params["user"]),
        "password": str(params["password"]),
    }
    path = tmp_path / "copy.duckdb"
    about = {"name": "people", "workspaceId": running["workspace_id"]}
    with httpx.Client(base_url=running["base"], timeout=60) as client:
        reads = made(client, "/v1/sources", {**about, "configuration": source})["sourceId"]
        given = {"destinationType": "duckdb", "destination_path": str(path)}
        writes = made(client, "/v1/destinations", {**about, "configuration": given})["destinationId"]
        body = {"sourceId": reads, "destinationId": writes, "configurations": {"streams": [{"name": "people"}]}}
        yield Shop(client, postgres_server, postgres_db, path, made(client, "/v1/connections", body)["connectionId"])


def test_mappings_show_rows_before_and_after(shop: Shop) -> None:
    (plain,) = shop.look("POST", "/mappings/preview")["streams"]
    assert (plain["source"], plain["stream"], plain["steps"]) == ("public.people", "public.people", [])
    assert plain["rowsBefore"] == plain["rowsAfter"]
    block = {
        "from": "people",
        "to": "persons",
        "drop": ["amount"],
        "steps": [{"hash": ["email"]}, {"filter": "id < 3"}],
        "field_mappings": {"name": "called"},
    }
    (drawn,) = shop.look("POST", "/mappings/preview", json={"mappings": [block], "rows": 3})["streams"]
    assert [column["name"] for column in drawn["before"]] == ["id", "name", "email", "amount"]
    assert [column["name"] for column in drawn["after"]] == ["id", "called", "email"]
    assert drawn["rowsBefore"][1] == ["2", "", "no address", "NaN"]
    # The empty text stays one, NULL stays NULL, and a row that the filter keeps back is not there.
    assert [row[:2] for row in drawn["rowsAfter"]] == [["1", "Ada"], ["2", ""]]
    assert len(drawn["rowsAfter"][0][2]) == 64
    # It was only a draft.
    assert shop.look("POST", "/mappings/preview")["streams"][0]["steps"] == []


def test_a_mapping_that_cannot_be_is_refused_before_anything(shop: Shop) -> None:
    wrong = {"mappings": [{"from": "people", "drop": ["nothing_like_it"]}]}
    assert "nothing_like_it" in shop.refused("POST", "/mappings/preview", 422, json=wrong)
    secret = {"mappings": [{"from": "people", "steps": [{"hash": ["email"], "key": "${env:HOME}"}]}]}
    assert "does not follow the reference" in shop.refused("POST", "/mappings/preview", 422, json=secret)


def test_gates_are_set_hold_back_and_let_through(shop: Shop) -> None:
    gates = {"streams": {"people": {"gates": [{"not_null": "email"}]}}}
    assert shop.client.put(f"{shop.at}/gates", json=gates).status_code == 200
    assert shop.client.get(f"{shop.at}/gates").json() == {
        "gates": [],
        "streams": {"people": gates["streams"]["people"]},
    }
    assert shop.sync()["status"] == "failed"
    (held,) = shop.look("GET", "/quality/held")["streams"]
    assert held["held"]["reason"]
    assert held["results"][0]["status"] == "blocked"
    # The gates are as they were: it stays where it is, and says why.
    (again,) = shop.look("POST", "/quality/replay")["streams"]
    assert "not published" in again["error"]["message"]
    (done,) = shop.look("POST", "/quality/publish", json={"streams": ["people"]})["streams"]
    assert "held" not in done
    assert shop.rows("SELECT count(*) FROM people") == [(3,)]
    assert shop.audited()[:2] == ["quality_publish", "quality_replay"]
    # What was judged again stands in the history behind what the run had said; publishing judges nothing.
    (stream,) = shop.client.get(f"{shop.at}/quality").json()["streams"]
    assert [each["published"] for each in stream["history"]] == [False, False]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"gates": [{"not_nul": "id"}]}, "not_nul"),
        ({"gates": [{"regex": {"column": "email", "pattern": "(?=x)"}}]}, "lookahead"),
        ({"gates": [{"suite": "/etc/passwd"}]}, "suite"),
        ({"streams": {"persons": {"gates": [{"not_null": "id"}]}}}, "is no stream that the connection names"),
        ({"quarantine": {"maxPercent": 101}}, "maxPercent"),
    ],
)
def test_gates_that_cannot_be_are_refused(shop: Shop, body: dict[str, Any], says: str) -> None:
    assert says in shop.refused("PUT", "/gates", 422, json=body)
    assert shop.client.get(f"{shop.at}/gates").json() == {"gates": [], "streams": {}}


def test_quarantined_rows_are_shown_replayed_and_dropped(shop: Shop) -> None:
    gate = {"regex": {"column": "email", "pattern": ".+@.+"}, "severity": "quarantine"}
    body = {"gates": [gate], "quarantine": {"maxRows": 10}}
    assert shop.client.put(f"{shop.at}/gates", json=body).status_code == 200
    shop.sql("INSERT INTO people VALUES (4, '<b>bold</b>', 'nowhere', 4)")
    assert shop.sync()["status"] == "succeeded"
    (summary,) = shop.look("GET", "/quarantine")["streams"]
    assert summary["rows"] == 2
    (reason,) = summary["reasons"]
    assert reason["column"] == "email"
    found = shop.look("GET", "/quarantine/rows", params={"stream": "people", "limit": 1, "offset": 1})
    assert found["total"] == 2
    (row,) = found["rows"]
    assert {cell["column"]: cell.get("value") for cell in row["record"]}["name"] == "<b>bold</b>"
    # Nothing is mended: both stay. Nobody replays or drops everything by leaving something out.
    assert len(shop.look("POST", "/quarantine/replay", json={"stream": "people", "all": True})["stays"]) == 2
    shop.refused("POST", "/quarantine/drop", 422, json={"stream": "people"})
    shop.refused("POST", "/quarantine/drop", 422, json={"stream": "people", "ids": ["no such row"]})
    assert shop.look("POST", "/quarantine/drop", json={"stream": "people", "ids": [row["id"]]}) == {"dropped": 1}
    # Mended: the other is written after all, once.
    assert shop.client.put(f"{shop.at}/gates", json={}).status_code == 200
    done = shop.look("POST", "/quarantine/replay", json={"stream": "people", "all": True})
    assert (done["written"], done["aside"], done["stays"]) == (1, 0, [])
    assert shop.rows("SELECT id FROM people ORDER BY id") == [(1,), (2,), (3,)]
    assert shop.look("GET", "/quarantine")["streams"][0]["rows"] == 0
    assert shop.audited()[0] == "replay_quarantine"


def test_changes_of_the_source_are_seen_and_accepted(shop: Shop) -> None:
    assert shop.sync()["status"] == "succeeded"
    assert shop.look("GET", "/schema-changes/pending") == {
        "connectionId": shop.connection,
        "changes": [],
        "refused": [],
        "accepted": [],
    }
    policy = {"nonBreakingSchemaUpdatesBehavior": "disable_connection"}
    assert shop.client.patch(f"/v1/connections/{shop.connection}", json=policy).status_code == 200
    shop.sql("ALTER TABLE people ADD COLUMN city text DEFAULT 'Köln'")
    pending = shop.look("GET", "/schema-changes/pending")
    assert [change["stream"] for change in pending["changes"]] == ["public.people"]
    assert "city" in pending["changes"][0]["text"]
    assert pending["refused"], "it waits for somebody"
    accepted = shop.look("POST", "/schema-changes/accept", json={"streams": ["people"]})
    assert accepted["accepted"] == ["public.people"]
    assert shop.look("GET", "/schema-changes/pending")["refused"] == []
    assert shop.sync()["status"] == "succeeded"
    assert shop.rows("SELECT DISTINCT city FROM people") == [("Köln",)]
    assert "accept_changes" in shop.audited()


def test_nothing_is_carried_out_while_a_job_waits(shop: Shop) -> None:
    shop.sync()
    # A job that cannot end soon: the table is locked.
    with psycopg.connect(shop.postgres.dsn(shop.database)) as holding:
        holding.execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        job = made(shop.client, "/v1/jobs", {"connectionId": shop.connection, "jobType": "sync"})
        for path, body in (
            ("/quarantine/replay", {"stream": "people", "all": True}),
            ("/quarantine/drop", {"stream": "people", "all": True}),
            ("/schema-changes/accept", None),
            ("/quality/replay", None),
        ):
            assert "waits or runs" in shop.refused("POST", path, 409, json=body)
        assert shop.client.delete(f"/v1/jobs/{job['jobId']}").status_code == 200


def test_roles(tmp_path: Path) -> None:
    """A reader sees what is written, not rows; a runner looks and replays; only an editor drops, accepts, publishes."""
    with server_process(tmp_path, SYNCLINE_AUTH="required") as server, httpx.Client(base_url=server["base"]) as client:
        token = client.post(f"{OWN}/login", json={"email": "admin@localhost", "password": PASSWORD}).json()
        admin = {"Authorization": f"Bearer {token['access_token']}"}
        about = {"name": "people", "workspaceId": server["workspace_id"]}
        source = {"sourceType": "postgres", "host": "127.0.0.1", "port": 1, "database": "x", "username": "u"}
        given = {"destinationType": "duckdb", "destination_path": str(tmp_path / "copy.duckdb")}

        def make(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = client.post(path, json=body, headers=admin)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        reads = make("/v1/sources", {**about, "configuration": source})["sourceId"]
        writes = make("/v1/destinations", {**about, "configuration": given})["destinationId"]
        connection = make("/v1/connections", {"sourceId": reads, "destinationId": writes})["connectionId"]
        at = f"{OWN}/connections/{connection}"
        asked: list[tuple[str, str, str, Any]] = [
            ("reader", "GET", "/gates", None),
            ("runner", "GET", "/quarantine", None),
            ("runner", "GET", "/quarantine/rows?stream=people", None),
            ("runner", "GET", "/schema-changes/pending", None),
            ("runner", "GET", "/quality/held", None),
            ("runner", "POST", "/mappings/preview", None),
            ("runner", "POST", "/quarantine/replay", {"stream": "people", "all": True}),
            ("runner", "POST", "/quality/replay", None),
            ("editor", "POST", "/mappings/preview", {"mappings": []}),
            ("editor", "POST", "/quarantine/drop", {"stream": "people", "all": True}),
            ("editor", "POST", "/schema-changes/accept", None),
            ("editor", "POST", "/quality/publish", {"streams": ["people"]}),
            ("editor", "PUT", "/gates", {"gates": []}),
        ]
        ranks = ["reader", "runner", "editor"]
        for rank in ranks:
            email = f"{rank}@example.com"
            user = make(f"{OWN}/users", {"email": email, "name": rank, "password": "long enough, this"})
            role = {"userId": user["userId"], "workspaceId": server["workspace_id"]}
            make("/v1/permissions", {**role, "permissionType": f"workspace_{rank}"})
            signed = client.post(f"{OWN}/login", json={"email": email, "password": "long enough, this"}).json()
            headers = {"Authorization": f"Bearer {signed['access_token']}"}
            for wanted, method, path, body in asked:
                answer = client.request(method, at + path, json=body, headers=headers, timeout=60)
                may = ranks.index(rank) >= ranks.index(wanted)
                # The source does not answer, so what may be asked for is 200 (nothing to look at) or its failure.
                assert (answer.status_code != 403) == may, (rank, method, path, answer.text)
            for path in ("/gates", "/quarantine"):
                assert (
                    client.get(f"{OWN}/connections/{server['workspace_id']}{path}", headers=headers).status_code == 404
                )
            assert client.get(f"{at}/gates").status_code == 401
