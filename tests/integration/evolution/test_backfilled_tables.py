"""Old rows of a new column filled in tables of files, read by the formats' own libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.command import succeed, syncline
from tests.integration.quality.lake import LakePipe

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server

pytestmark = pytest.mark.slow

MERGE: Any = {"mode": "incremental_deduped_history", "cursor_field": "seen"}


@pytest.fixture(params=["delta", "iceberg", "local"])
def pipe(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    s3_server: S3Server,
    s3_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> LakePipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return LakePipe(postgres_server, postgres_db, tmp_path, request.param, s3_server, s3_bucket)


def test_old_rows_get_the_values_of_new_columns(pipe: LakePipe) -> None:
    pipe.project([], **(MERGE if pipe.kind != "local" else {**MERGE, "mode": "incremental_append"}))
    assert pipe.sync().code == 0
    pipe.source(
        'ALTER TABLE shop.customers ADD COLUMN "Select" int DEFAULT 7, ADD COLUMN note text',
        "UPDATE shop.customers SET note = 'n' || cid WHERE cid < 3",
        "INSERT INTO shop.customers VALUES (6, 'u6@x.org', 6, 8, '')",
    )
    assert pipe.sync().code == 0
    names = ["cid", "email", "Select", "note"]
    arguments = ("-s", "customers", "--column", "Select", "--column", "note")
    if pipe.kind == "local":
        refused = syncline("backfill", pipe.file, *arguments)
        assert refused.code == 3
        assert "copy the stream anew" in refused.err
        return
    assert [row[2:] for row in pipe.visible(names)] == [(None, None)] * 5 + [(8, "")]
    succeed("backfill", pipe.file, *arguments)
    wanted = [(n, f"u{n}@x.org", 7, f"n{n}" if n < 3 else None) for n in range(1, 6)]
    assert pipe.visible(names) == [*wanted, (6, "u6@x.org", 8, "")]
    again = pipe.sync()
    assert again.json["streams"][0]["rows_read"] == 0
