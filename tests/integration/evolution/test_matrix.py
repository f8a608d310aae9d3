"""Fourteen changes of a table, by two methods, to three destinations: the table in docs/schema-changes.md is what
happens.

``SYNCLINE_WRITE_DOCS=1`` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.integration.evolution.matrix import BEGIN, CHANGES, DESTINATIONS, END, METHODS, Connection, lines

from syncline.testing.postgres_server import PostgresServer

PAGE = Path(__file__).resolve().parents[3] / "docs" / "schema-changes.md"


@pytest.mark.slow
def test_the_published_matrix_is_what_happens(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {}
    for method in METHODS:
        for destination in DESTINATIONS:
            folder = tmp_path / f"{method}-{destination}"
            folder.mkdir()
            monkeypatch.setenv("SYNCLINE_HOME", str(folder / "home"))
            source = postgres_server.create_database()
            connection = Connection(method, destination, postgres_server, source, folder)
            try:
                connection.run()
                cells[method, destination] = {c.name: connection.cell(c) for c in CHANGES}
            finally:
                connection.close()
                postgres_server.drop_database(source)
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    made = "\n".join([BEGIN, *lines(cells), END])
    if os.environ.get("SYNCLINE_WRITE_DOCS"):
        PAGE.write_text(head + made + tail, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == head + made + tail
