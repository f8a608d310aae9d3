"""JSON lines: flat ones by Arrow, all others line by line, with the same result."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.integration.files_source.harness import Lake

from syncline.core.errors import ErrorKind, SynclineError


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path, globs="**/*.jsonl*")


def _lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_types_come_from_the_values(lake: Lake) -> None:
    lake.put(
        "a.jsonl",
        _lines(
            {"i": 1, "f": 1.5, "mix": 1, "b": True, "s": "2026-11-21", "l": [1, 2], "o": {"a": [1, None]}, "n": None},
            {"i": 2, "f": 2, "mix": "x", "l": [], "o": None, "big": 2**64, "ll": [[1]], "wide": 2**60, "late": [1.5]},
            {"wide": 0.5, "late": [1], "both": [1]},
            {"both": "text"},
        ),
    )
    assert lake.types() == {
        "i": "int64",
        "f": "double",
        "mix": "string",
        "b": "bool",
        "s": "string",
        "l": "list<item: int64>",
        "o": "json",
        "n": "string",
        "big": "string",
        "ll": "json",
        "wide": "string",
        "late": "list<item: double>",
        "both": "json",
    }
    first, second, third, fourth = lake.rows()
    assert (first["o"], first["l"], first["mix"], first["f"]) == ('{"a":[1,null]}', [1, 2], "1", 1.5)
    assert (second["big"], second["ll"], second["wide"]) == (str(2**64), "[[1]]", str(2**60))
    assert (third["wide"], third["late"], third["both"]) == ("0.5", [1.0], "[1]")
    assert fourth["both"] == '"text"'


def test_numbers_in_json_stay_as_written(lake: Lake) -> None:
    lake.put("a.jsonl", '{"o": {"x": 1.10, "y": 123456789012345678901234567890, "z": 1E400, "é": "\\u00e9\\n"}}\n')
    assert lake.rows() == [{"o": '{"x":1.10,"y":123456789012345678901234567890,"z":1E400,"é":"é\\n"}'}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_marks_carriage_returns_and_empty_lines(lake: Lake, name: str) -> None:
    data = b'\xef\xbb\xbf{"id":1}\r\n\r\n{"id":2}\r\n{"id":3}'
    lake.put(name, gzip.compress(data) if name.endswith("gz") else data)
    assert [r["id"] for r in lake.rows()] == [1, 2, 3]


def test_lacking_and_given_columns(lake: Lake) -> None:
    lake.put("a.jsonl", _lines({"id": 1}))
    lake.put("b.jsonl", _lines({"id": 2, "d": "2026-11-21"}))
    rows = lake.rows(column_types={"d": "date", "later": "boolean"})
    assert sorted(rows, key=lambda r: int(r["id"])) == [
        {"id": 1, "d": None, "later": None},
        {"id": 2, "d": date(2026, 11, 21), "later": None},
    ]


def test_what_does_not_fit_is_set_aside_and_no_row_is_lost(lake: Lake) -> None:
    good = _lines({"id": 1, "f": 1.5, "s": "a", "l": [1]}) * 3000
    bad = '{"id":"x"}\n{"id":2.0,"f":9007199254740993}\n{"id":3,"s":"\\ud800"}\n{"l":["y"]}\n{"id":1e30}\n'
    lake.put("a.jsonl", good + bad + good)
    rows, misfits = lake.read(sample_bytes=1024)
    assert len(rows) == 6005
    assert [(m.column, m.text) for m in sorted(misfits, key=lambda m: m.row)] == [
        ("id", '"x"'),
        ("f", "9007199254740993"),
        ("s", '"\\ud800"'),
        ("l", '["y"]'),
        ("id", "1e30"),
    ]
    assert rows[3001]["id"] == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"id":1}\n{"id":\n', "line 2 is no JSON"),
        ('{"id":1}\n[1]\n', "line 2 is not an object"),
        (b'{"id":"\xff"}\n', "line 1 is not UTF-8"),
        ('{\n "id": 1\n}\n', "line 1 is no JSON"),
    ],
)
def test_broken_lines_are_named(lake: Lake, data: bytes | str, words: str) -> None:
    lake.put("a.jsonl", data)
    with pytest.raises(SynclineError, match=words) as raised:
        lake.read()
    assert raised.value.kind is ErrorKind.DATA


def test_a_broken_line_behind_the_sample_is_named(lake: Lake) -> None:
    lake.put("a.jsonl", '{"id":1}\n' * 600_000 + "{\n")
    with pytest.raises(SynclineError, match="line 600001 is no JSON"):
        lake.read(sample_bytes=1024)


def test_an_unknown_column_behind_the_sample(lake: Lake) -> None:
    lake.put("a.jsonl", '{"id":1}\n' * 1000 + '{"id":1,"new":1}\n')
    with pytest.raises(SynclineError, match="column 'new'") as raised:
        lake.read(sample_bytes=1024)
    assert raised.value.kind is ErrorKind.SCHEMA
    assert "sample_bytes" in raised.value.hint
    assert len(lake.rows()) == 1001
