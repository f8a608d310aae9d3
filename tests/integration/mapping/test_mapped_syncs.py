"""Mappings in whole syncs from Postgres: the file's words, every destination, full copies, increments and the log."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from tests.integration.command import postgres, project, succeed, syncline

from syncline.testing.postgres_server import PostgresServer

SHA = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("ann@x.org", "bob@x.org", "new@x.org", "eve@x.org")}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))


@pytest.fixture
def people(postgres_server: PostgresServer, postgres_db: str) -> str:
    postgres_server.execute(
        'CREATE TABLE people (id int PRIMARY KEY, "Mail" text, country text, salary numeric(10,2), n int NOT NULL)',
        "INSERT INTO people VALUES (1, 'ann@x.org', 'DE', 10.5, 1), (2, 'bob@x.org', 'FR', 'NaN', 2)",
        "INSERT INTO people VALUES (3, NULL, 'DE', 7, 3)",
        "CREATE TABLE secrets (id int PRIMARY KEY, v text)",
        "INSERT INTO secrets VALUES (1, 'x')",
        dbname=postgres_db,
    )
    return postgres_db


MAPPING = {
    "mappings": [
        {
            "from": "people",
            "to": "staff",
            "drop": ["salary"],
            "steps": [
                {"filter": "country = 'DE'"},
                {"derive": {"domain": "split_part(\"Mail\", '@', 2)"}},
                {"hash": ["Mail"]},
            ],
            "field_mappings": {"Mail": "mail_hash", "id": "person_id"},
        },
        {"from": "secrets", "select": False},
    ]
}


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute(query).fetchall()


def test_a_file_of_mappings_is_carried_out(postgres_server, people, tmp_path):
    (tmp_path / "mapping.json").write_text(json.dumps(MAPPING))
    target = {"type": "duckdb", "config": {"path": str(tmp_path / "d.duckdb")}}
    file = project(
        tmp_path / "a.yaml", postgres(postgres_server, people), target, mappings="mapping.json", metadata_columns="none"
    )
    succeed("check", file)
    succeed("sync", file)
    found = rows(tmp_path / "d.duckdb", "SELECT person_id, mail_hash, country, n, domain FROM staff ORDER BY 1")
    assert found == [(1, SHA["ann@x.org"], "DE", 1, "x.org"), (3, None, "DE", 3, None)]
    tables = {name for (name,) in rows(tmp_path / "d.duckdb", "SELECT table_name FROM information_schema.tables")}
    assert "staff" in tables
    assert not {"people", "secrets"} & tables
    columns = [n for n, *_ in rows(tmp_path / "d.duckdb", "DESCRIBE staff")]
    assert columns == ["person_id", "mail_hash", "country", "n", "domain"]


def test_the_effect_is_shown_before_anything_is_synced(postgres_server, people, tmp_path):
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, people),
        {"type": "duckdb", "config": {"path": str(tmp_path / "d.duckdb")}},
        mappings=MAPPING["mappings"],
    )
    shown = succeed("discover", file, "--after-mappings").out
    for line in (
        "public.people -> public.staff (key: person_id)",
        '2. {"filter": "country = \'DE\'"}',
        "before: id integer, Mail text, country text, salary numeric(10,2), n integer",
        "1 | ann@x.org | DE | 10.50 | 1",
        "2 | bob@x.org | FR | NaN | 2",
        "after: person_id integer, mail_hash string, country text, n integer, domain string",
        f"1 | {SHA['ann@x.org'][:31]}… | DE | 1 | x.org",
        "1 of these rows do not pass the filter",
    ):
        assert line in shown, shown
    (told,) = succeed("discover", file, "--after-mappings", "--json").json["a"]
    assert told["rows_after"][1] == {"person_id": "3", "mail_hash": None, "country": "DE", "n": "3", "domain": None}
    assert "secrets" not in shown
    assert not (tmp_path / "d.duckdb").exists()


@pytest.mark.slow
def test_increments_are_merged_by_the_mapped_key(postgres_server, people, tmp_path):
    target = postgres_server.create_database()
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, people),
        postgres(postgres_server, target),
        streams=[{"name": "people", "mode": "incremental_deduped_history", "cursor_field": "n"}],
        mappings=[
            {
                "from": "people",
                "steps": [{"hash": ["id"], "allow_key": True}, {"mask": ["Mail"], "email": True}],
                "field_mappings": {"n": "changed", "id": "key"},
            }
        ],
    )
    succeed("sync", file)
    postgres_server.execute(
        "UPDATE people SET \"Mail\" = 'new@y.org', n = 9 WHERE id = 2",
        "INSERT INTO people VALUES (4, 'eve@x.org', 'US', 1, 10)",
        dbname=people,
    )
    succeed("sync", file)
    with psycopg.connect(postgres_server.dsn(target)) as connection:
        found = connection.execute('SELECT key, "Mail", salary::text, changed FROM people ORDER BY changed').fetchall()
    keys = [hashlib.sha256(str(i).encode()).hexdigest() for i in (1, 3, 2, 4)]
    assert found == [
        (keys[0], "a***@x.org", "10.50", 1),
        (keys[1], None, "7.00", 3),
        (keys[2], "n***@y.org", "NaN", 9),
        (keys[3], "e***@x.org", "1.00", 10),
    ]
    postgres_server.drop_database(target)


@pytest.mark.slow
def test_a_mapping_that_only_renames_is_still_relayed_undecoded(postgres_server, people, tmp_path, monkeypatch):
    from syncline.engine import task

    taken: list[bool] = []
    route = task.raw_route

    def watched(*ends: Any) -> Any:
        found = route(*ends)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(task, "raw_route", watched)
    target = postgres_server.create_database()
    for number, steps in enumerate(([], [{"cast": {"n": "bigint"}}])):
        file = project(
            tmp_path / f"{number}.yaml",
            postgres(postgres_server, people),
            postgres(postgres_server, target),
            streams=["people"],
            mappings=[
                {"from": "*", "to": "raw{name}", "drop": "country", "steps": steps, "field_mappings": {"Mail": "mail"}}
            ],
        )
        succeed("sync", file)
        with psycopg.connect(postgres_server.dsn(target)) as connection:
            found = connection.execute("SELECT id, mail, salary::text, n FROM rawpeople ORDER BY id").fetchall()
        assert found == [(1, "ann@x.org", "10.50", 1), (2, "bob@x.org", "NaN", 2), (3, None, "7.00", 3)]
        postgres_server.execute("DROP TABLE rawpeople, _syncline_ledger", dbname=target)
    assert taken == [True, False]
    postgres_server.drop_database(target)


def test_the_documents_schema_mapping_is_accepted_as_it_stands(tmp_path):
    (tmp_path / "schema-mapping.json").write_text(
        """
{
  "mappings": [
    {
      "from": "Sage GL",
      "to": "financial_transactions",
      "field_mappings": {
        "TransactionDate": "date",
        "AccountCode": "account_code", 
        "Amount": "amount",
        "Description": "description"
      }
    }
  ]
}
"""  # noqa: W291 - as it stands
    )
    (tmp_path / "in").mkdir()
    for name in ("Sage GL", "sage_gl"):
        (tmp_path / "in" / "gl.csv").write_text(
            "TransactionDate,AccountCode,Amount,Description,Entity\n2024-01-31,4000,12.50,Sales,DE\n"
        )
        config = {"path": str(tmp_path / "in"), "streams": [{"name": name, "glob": "*.csv", "format": "csv"}]}
        source = {"type": "files", "config": config}
        target = {"type": "duckdb", "config": {"path": str(tmp_path / f"{name}.duckdb")}}
        file = project(tmp_path / "gl.yaml", source, target, mappings="schema-mapping.json", metadata_columns="none")
        succeed("sync", file)
        found = rows(
            tmp_path / f"{name}.duckdb", 'SELECT "date", account_code, amount, description FROM financial_transactions'
        )
        assert [tuple(map(str, row)) for row in found] == [("2024-01-31", "4000", "12.5", "Sales")]


@pytest.mark.slow
def test_the_log_is_mapped_too(postgres_server, people, tmp_path):
    postgres_server.execute(
        'ALTER TABLE people ALTER "Mail" SET STORAGE EXTERNAL',
        "UPDATE people SET \"Mail\" = repeat('m', 5000) || '@x.org' WHERE id = 3",
        dbname=people,
    )
    source = postgres(postgres_server, people, replication_method={"method": "CDC"})
    target = {"type": "duckdb", "config": {"path": str(tmp_path / "d.duckdb")}}
    steps = [
        {"filter": "country = 'DE'"},
        {"derive": {"size": 'length("Mail")'}},
        {"hash": ["Mail"]},
        {"drop": ["salary"]},
    ]
    file = project(
        tmp_path / "a.yaml",
        source,
        target,
        mode="incremental",
        streams=["people", "secrets"],
        mappings=[{"from": "public.people", "to": "staff", "steps": steps, "field_mappings": {"id": "person"}}],
    )

    def staff() -> list[tuple[Any, ...]]:
        return rows(tmp_path / "d.duckdb", 'SELECT person, "Mail", country, n, size FROM staff ORDER BY 1')

    long = hashlib.sha256(b"m" * 5000 + b"@x.org").hexdigest()
    succeed("sync", file)
    assert staff() == [(1, SHA["ann@x.org"], "DE", 1, 9), (3, long, "DE", 3, 5006)]
    postgres_server.execute(
        "UPDATE people SET n = 30 WHERE id = 3",  # its long text is left out of the log
        "UPDATE people SET country = 'FR' WHERE id = 1",  # leaves
        "UPDATE people SET country = 'DE', n = 20 WHERE id = 2",  # enters
        "INSERT INTO people VALUES (5, 'eve@x.org', 'DE', 1, 5), (6, 'eve@x.org', 'US', 1, 6)",
        "UPDATE people SET id = 50 WHERE id = 5",
        "UPDATE people SET id = 60, country = 'US' WHERE id = 50",
        "INSERT INTO people VALUES (7, 'new@x.org', 'DE', 1, 7)",
        "DELETE FROM people WHERE id = 6",
        "INSERT INTO secrets VALUES (2, 'y')",
        dbname=people,
    )
    succeed("sync", file)
    after = [(2, SHA["bob@x.org"], "DE", 20, 9), (3, long, "DE", 30, 5006), (7, SHA["new@x.org"], "DE", 7, 9)]
    assert staff() == after
    postgres_server.execute(
        "ALTER TABLE people ADD COLUMN extra int DEFAULT 4, ADD COLUMN other text",
        "ALTER TABLE people RENAME COLUMN n TO number",
        "UPDATE people SET extra = 5 WHERE id = 7",
        dbname=people,
    )
    succeed("sync", file)
    found = rows(tmp_path / "d.duckdb", "SELECT person, number, extra, other FROM staff ORDER BY 1")
    assert found == [(2, 20, 4, None), (3, 30, 4, None), (7, 7, 5, None)]
    postgres_server.execute("INSERT INTO people VALUES (8, 'eve@x.org', 'DE', 1, 8, 1, 'o')", dbname=people)
    succeed("sync", file)
    assert rows(tmp_path / "d.duckdb", "SELECT person, other FROM staff WHERE person = 8") == [(8, "o")]
    # A column that the mapping hides has another name: nothing of it may come through, and the others go on.
    postgres_server.execute(
        'ALTER TABLE people RENAME COLUMN "Mail" TO mail',
        "INSERT INTO people VALUES (9, 'eve@x.org', 'DE', 1, 9, 1, 'o')",
        "INSERT INTO secrets VALUES (3, 'z')",
        dbname=people,
    )
    done = syncline("sync", file)
    assert done.code != 0
    assert "there is no column 'Mail'" in done.text
    assert rows(tmp_path / "d.duckdb", "SELECT count(*) FROM staff") == [(4,)]
    succeed("forget", file)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"from": "poeple"}, "has no stream 'poeple'.*did you mean 'people'"),
        ({"from": "people", "field_mappings": {"mail": "m"}}, "no column 'mail'.*did you mean 'Mail'"),
        ({"from": "people", "steps": [{"hash": ["id"]}]}, "part of the key by which rows are merged.*allow_key"),
        ({"from": "people", "steps": [{"mask": ["id"]}]}, "different rows would get the same key"),
        ({"from": "people", "steps": [{"mask": ["n"]}]}, "is the cursor"),
        ({"from": "people", "steps": [{"encrypt": ["Mail"], "key": "${env:NO_SUCH_KEY}"}]}, "NO_SUCH_KEY is not set"),
        ({"from": "people", "steps": [{"encrypt": ["Mail"], "key": "geheim"}]}, "stands here in clear"),
        ({"from": "people", "steps": [{"hsah": ["Mail"]}]}, "unknown step 'hsah'.*did you mean 'hash'"),
        (
            {"from": "people", "steps": [{"hash": ["Mail"], "methd": "md5"}]},
            "unknown key 'methd'.*did you mean 'method'",
        ),
        ({"from": "people", "to": "secrets"}, "would both be called"),
        ({"from": "people", "namespace": "public", "to": "SECRETS"}, "would both be called"),
        ({"from": "*", "to": "same"}, "would be called 'same'"),
        (
            {"from": "people", "steps": [{"derive": {"x": "regexp_matches(\"Mail\", '(')"}}]},
            "(?s)missing|unexpected|parenthes",
        ),
    ],
)
def test_a_bad_mapping_is_an_error_before_anything_is_touched(postgres_server, people, tmp_path, mapping, words):
    import re

    target = {"type": "duckdb", "config": {"path": str(tmp_path / "d.duckdb")}}
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, people),
        target,
        streams=[{"name": "people", "mode": "incremental_deduped_history", "cursor_field": "n"}, "secrets"],
        mappings=[mapping],
    )
    done = syncline("sync", file)
    assert done.code == 3, done.text
    assert re.search(words, done.text.replace("\n", " ")), done.text
    assert not (tmp_path / "d.duckdb").exists()


def test_a_mapped_stream_is_verified_as_far_as_its_values_are_the_sources(postgres_server, people, tmp_path):
    target = {"type": "duckdb", "config": {"path": str(tmp_path / "d.duckdb")}}
    file = project(tmp_path / "a.yaml", postgres(postgres_server, people), target, mappings=MAPPING["mappings"])
    succeed("sync", file)
    (told,) = succeed("verify", file, "--json").json
    report = told["report"]
    assert report["equal"]
    assert (report["source_rows"], report["destination_rows"]) == (2, 2)
    assert report["columns"] == ["person_id", "country", "n"]
    assert report["key"] == ["person_id"]
    assert report["excluded"] == {
        "mail_hash": "a mapping changes its values (hash)",
        "domain": "a mapping makes it of other columns",
    }
    with duckdb.connect(str(tmp_path / "d.duckdb")) as con:
        con.execute("UPDATE staff SET n = 100 WHERE person_id = 3")
        con.execute("INSERT INTO staff (person_id, country, n) VALUES (9, 'DE', 9)")
    done = syncline("verify", file, "--json")
    assert done.code == 1
    found = done.json[0]["report"]
    assert (found["missing"], found["extra"], found["different"]) == (0, 1, 1)
