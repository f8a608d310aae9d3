"""The compiled reader and its twin say the same of every record, whatever stands in it."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.batch import Batch
from syncline.core.errors import SynclineError
from syncline.sdk.records.json_schema import schema_of
from syncline.sdk.records.parse_native import native_records
from syncline.sdk.records.reader import RecordReader

DECLARED = {
    "id": {"type": "integer"},
    'na\u00efve "key"': {"type": "string"},
    "price": {"type": "number"},
    "on": {"type": "boolean"},
    "at": {"type": "string", "format": "date-time"},
    "day": {"type": "string", "format": "date"},
    "more": {"type": "object"},
    "": {"type": ["null", "string"]},
}
SCHEMA = schema_of({"properties": DECLARED})
NAME = 'na\u00efve "key"'


def both(records: list[bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[Batch, Batch, bool]:
    """The compiled one's batch, its twin's, and whether the compiled one took the records."""
    compiled = native_records(SCHEMA.fields)
    if compiled is None:
        pytest.skip("nothing is compiled here")
    found = RecordReader(SCHEMA, whole=False).batch(records)
    with monkeypatch.context() as patch:
        patch.setenv("SYNCLINE_NO_NATIVE", "1")
        twin = RecordReader(SCHEMA, whole=False).batch(records)
    try:
        taken = compiled(records) is not None
    except UnicodeDecodeError:
        taken = False
    return found, twin, taken


PLAIN: list[Any] = [
    {},
    {"id": 0, "price": -0.0, "on": True},
    {"id": -(10**17), "price": 1e-320, "on": False, "at": "2026-01-01T00:00:00.123456789+05:30"},
    {"price": 123456789012345678, NAME: "", "": '\u0000\u001f"\\/\b\f\n\r\t\U0001f600\u2028'},
    {"price": 1.7976931348623157e308, "day": "2026-02-28", "more": {"a": ["]}", {"b": '\\"'}], "": None}},
    {"more": [], "unknown": {"id": [1, {"id": 2}]}, "id": None},
    {"more": "text", NAME: None, "price": 0.1, "id": 7, "at": None},
    {"more": 1.50, "price": 3, "": "x" * 70000},
]
#: Each makes the compiled reader refuse the batch.
ODD = [
    b'{"id": "12"}',
    b'{"id": 12.0}',
    b'{"id": 9223372036854775807}',
    b'{"id": 92233720368547758080}',
    b'{"id": true}',
    b'{"price": "many"}',
    b'{"on": 1}',
    b'{"day": 5}',
    b'{"": 12.50}',
    b'{"": {"a": 1}}',
    b'{"at": "tomorrow"}',
]


@pytest.mark.parametrize("spaces", [(",", ":"), (" ,\n\t ", "\r\n: ")])
@pytest.mark.parametrize("plain_ascii", [True, False])
def test_plain_records(monkeypatch: pytest.MonkeyPatch, spaces: tuple[str, str], plain_ascii: bool) -> None:
    texts = [json.dumps(r, separators=spaces, ensure_ascii=plain_ascii).encode() for r in PLAIN]
    found, twin, taken = both(texts, monkeypatch)
    assert taken
    assert found.data.equals(twin.data)
    found.data.validate(full=True)
    assert str(found.data.column("price")[1]) == "-0.0"
    assert found.data.column("more")[6].as_py() == '"text"'


@pytest.mark.parametrize("odd", ODD)
def test_odd_records_are_left_to_the_other(monkeypatch: pytest.MonkeyPatch, odd: bytes) -> None:
    texts = [json.dumps(PLAIN[1]).encode(), odd, json.dumps(PLAIN[6]).encode()]
    found, twin, taken = both(texts, monkeypatch)
    assert taken == (b"tomorrow" in odd)  # text for the compiled one, no time for what comes after it
    assert found.data.equals(twin.data)
    assert found.misfits == twin.misfits


@pytest.mark.parametrize(
    "text",
    [b"[1]", b'{"id": 1', b'{"id": 1,}', b'{"id": 01}', b'{"id": 1} {"id": 2}', b'{"": "a', b"", b'{"": "\\ud800"}'],
)
def test_what_is_no_object_is_refused(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    compiled = native_records(SCHEMA.fields)
    if compiled is None:
        pytest.skip("nothing is compiled here")
    assert compiled([text]) is None
    with pytest.raises(SynclineError):
        RecordReader(SCHEMA, whole=False).batch([text])


def test_numbers_are_rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any double, written in several ways, comes back as itself."""
    chance = random.Random(5)
    numbers = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(3000)]
    numbers = [n for n in numbers if n == n and abs(n) != float("inf")]
    numbers += [round(chance.uniform(-1e6, 1e6), digits) for digits in range(12) for _ in range(200)]
    ways = [repr, "{:.17e}".format, "{:.25g}".format]
    texts = [b'{"price": %s}' % chance.choice(ways)(n).encode() for n in numbers]
    found, _, taken = both(texts, monkeypatch)
    assert taken
    expected = pa.array([float(t[10:-1]) for t in texts])
    assert found.data.column("price").equals(expected)


def test_columns_outlive_their_batch() -> None:
    columns = []
    for number in range(50):
        batch = RecordReader(SCHEMA, whole=False).batch([b'{"": "%d"}' % number] * 1000)
        columns.append(batch.data.column(""))
    assert [c[999].as_py() for c in columns] == [str(n) for n in range(50)]


def test_what_is_no_utf_8_is_refused() -> None:
    with pytest.raises(SynclineError, match="utf-8"):
        RecordReader(SCHEMA, whole=False).batch([b'{"": "\xff"}'])
