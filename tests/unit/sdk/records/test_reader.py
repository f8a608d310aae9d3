"""Records to Arrow: what the declared types make of them, also where they contradict it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.packages.requirement import allows
from syncline.sdk.records.json_schema import schema_of
from syncline.sdk.records.reader import RecordReader

UTC_MICROS = pa.timestamp("us", tz="UTC")


def read(declared: dict[str, Any], *records: Any) -> tuple[dict[str, list[Any]], RecordReader, list[tuple[int, str]]]:
    schema = schema_of({"properties": declared})
    reader = RecordReader(schema, whole=not declared)
    batch = reader.batch([r if isinstance(r, bytes) else json.dumps(r).encode() for r in records])
    assert batch.data.schema.equals(schema.arrow())
    return batch.data.to_pydict(), reader, [(m.row, m.text) for m in batch.misfits]


@pytest.mark.parametrize(
    ("declared", "kind", "logical"),
    [
        ({"type": ["null", "integer"]}, pa.int64(), None),
        ({"type": "number"}, pa.float64(), None),
        ({"type": ["number", "integer", "null"]}, pa.float64(), None),
        ({"type": "number", "airbyte_type": "integer"}, pa.int64(), None),
        ({"type": "string", "airbyte_type": "big_integer"}, pa.string(), "numeric"),
        ({"type": "string", "format": "date"}, pa.date32(), None),
        ({"type": "string", "format": "date-time"}, UTC_MICROS, None),
        ({"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"}, "local", None),
        ({"type": "string", "format": "email"}, pa.string(), None),
        ({"$ref": "WellKnownTypes.json#/definitions/Integer"}, pa.int64(), None),
        ({"oneOf": [{"type": "null"}, {"type": "boolean"}]}, pa.bool_(), None),
        ({"type": ["string", "integer"]}, pa.string(), "json"),
        ({"type": "object"}, pa.string(), "json"),
        ({}, pa.string(), "json"),
    ],
)
def test_declared_types(declared: dict[str, Any], kind: Any, logical: str | None) -> None:
    (field,) = schema_of({"properties": {"x": declared}}).fields
    assert (field.type, field.logical) == (pa.timestamp("us") if kind == "local" else kind, logical)


def test_times_in_all_their_forms_stay_on_the_fast_path() -> None:
    forms = [
        "2026-01-02T03:04:05Z",
        "2026-01-02T05:04:05+02:00",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05.000000999Z",
    ]
    found, reader, misfits = read(
        {"at": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"}},
        *({"at": form, "day": "2026-01-02"} for form in forms),
        {"at": "2026-01-02"},
        {"at": None},
    )
    instant = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found["at"] == [instant] * 4 + [datetime(2026, 1, 2, tzinfo=UTC), None]
    assert found["day"] == [date(2026, 1, 2)] * 4 + [None, None]
    assert not reader.turned
    assert not misfits


def test_one_contradiction_does_not_touch_the_other_values() -> None:
    declared = {"i": {"type": "integer"}, "s": {"type": "string"}, "t": {"type": "string", "format": "date-time"}}
    found, reader, misfits = read(
        declared,
        {"i": 1, "s": "a", "t": "2026-01-02T03:04:05"},
        {"i": "2", "s": 1.5, "t": "2026-01-02T03:04:05Z"},
        b'{"i": 3.0, "s": {"a": 1.10}, "t": null}',
        b'{"i": 9223372036854775808, "s": null}',
        {"i": 2.5, "s": "x", "t": "tomorrow"},
    )
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found == {
        "i": [1, 2, 3, None, None],
        "s": ["a", "1.5", '{"a": 1.10}', None, "x"],
        "t": [at, at, None, None, None],
    }
    assert misfits == [(3, "9223372036854775808"), (4, "2.5"), (4, '"tomorrow"')]
    assert (reader.turned["i"], reader.turned["s"], reader.set_aside) == (2, 2, {"i": 2, "t": 1})


def test_nested_values_keep_their_text_and_undeclared_ones_are_left_out() -> None:
    found, _, _ = read(
        {"a b": {"type": "object"}, "n": {"type": "integer"}},
        b'{"a b": {"x": [1.0, "\\u00fc"]}, "n": 1, "z": {"q": 2}}',
        {},
    )
    assert found == {"a b": ['{"x": [1.0, "\\u00fc"]}', None], "n": [1, None]}


def test_a_stream_that_declares_nothing_is_kept_whole() -> None:
    found, _, _ = read({}, {"a": 1}, {"b": [2]})
    assert found == {"data": ['{"a": 1}', '{"b": [2]}']}


def test_what_is_no_object_is_named() -> None:
    with pytest.raises(SynclineError) as raised:
        read({"i": {"type": "integer"}}, [1, 2])
    assert raised.value.kind is ErrorKind.DATA


@pytest.mark.parametrize(
    ("requirement", "version", "allowed"),
    [
        (">=3.10,<3.12", (3, 11, 7), True),
        (">=3.10,<3.12", (3, 12, 0), False),
        (">=3.10, <3.12", (3, 9, 18), False),
        ("~=3.10", (3, 13, 0), True),
        ("~=3.10.2", (3, 11, 0), False),
        ("!=3.11.*", (3, 11, 7), False),
        ("==3.11.*", (3, 11, 7), True),
        ("<=3.11", (3, 11, 0), True),
        ("<=3.11", (3, 11, 7), False),
        ("", (3, 11, 7), True),
        ("what", (3, 11, 7), False),
    ],
)
def test_the_range_of_pythons_is_kept(requirement: str, version: tuple[int, ...], allowed: bool) -> None:
    assert allows(requirement, version) is allowed
