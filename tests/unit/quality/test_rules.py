"""Gates as people write them, and what each rule about rows says of ugly values."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.quality.gate import Gate, Severity, Status
from syncline.quality.judge import Facts, judge
from syncline.quality.library import ensure_library
from syncline.quality.limits import Limits
from syncline.quality.rules import parse_gates
from syncline.quality.screen import Screen, merged


def broken(gate: dict[str, Any], field: Field, values: list[Any], misfits: tuple[Misfit, ...] = ()) -> list[int]:
    """The rows that one gate sets aside."""
    schema = StreamSchema(fields=(field,))
    screen = Screen(parse_gates([{**gate, "severity": "quarantine"}]), schema)
    data = pa.RecordBatch.from_arrays([pa.array(values, field.type)], schema=schema.arrow())
    found = screen(Batch(data=data, misfits=misfits))
    rows = [m.row for m in found.misfits if m.rule]
    (counts,) = screen.note()["gates"].values()
    assert counts[1] == len(rows)
    return rows


TEXT, INT = Field(name="x", type=pa.string()), Field(name="x", type=pa.int64())
FLOAT, DEC = Field(name="x", type=pa.float64()), Field(name="x", type=pa.decimal128(12, 2))
TIME = Field(name="x", type=pa.timestamp("us", tz="UTC"))


@pytest.mark.parametrize(
    ("gate", "field", "values", "rows"),
    [
        ({"not_null": "x"}, TEXT, ["a", None, ""], [1]),
        ({"null": "x"}, TEXT, ["a", None, ""], [0, 2]),
        ({"in_set": {"column": "x", "values": ["a", "b"]}}, TEXT, ["a", "A", None, ""], [1, 3]),
        ({"in_set": {"column": "x", "values": [1, 2]}}, DEC, [Decimal("1.00"), Decimal("2.50"), None], [1]),
        ({"not_in_set": {"column": "x", "values": [7]}}, INT, [7, 8, None], [0]),
        ({"regex": {"column": "x", "pattern": r".+@.+\..+"}}, TEXT, ["a@b.c", "a@b", None, ""], [1, 3]),
        ({"not_regex": {"column": "x", "pattern": "^$"}}, TEXT, ["a", "", None], [1]),
        ({"regex": {"column": "x", "pattern": "^1"}}, INT, [10, 20], [1]),
        ({"range": {"column": "x", "min": 0, "max": 1}}, FLOAT, [0.0, 1.0, float("nan"), float("inf"), None], [2, 3]),
        ({"range": {"column": "x", "above": 0, "below": 10}}, INT, [0, 1, 10], [0, 2]),
        ({"range": {"column": "x", "min": 0.5}}, INT, [0, 1], [0]),
        ({"range": {"column": "x", "max": "99.99"}}, DEC, [Decimal("99.99"), Decimal("100.00")], [1]),
        (
            {"range": {"column": "x", "min": "2024-01-01"}},
            TIME,
            [datetime(2023, 12, 31, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), None],
            [0],
        ),
        ({"length": {"column": "x", "min": 1, "max": 2}}, TEXT, ["", "a", "äö", "abc", None], [0, 3]),
        (
            {"range": {"column": "x", "min": 5}},
            Field(name="x", type=pa.string(), logical="numeric"),
            ["4.9", "10"],
            [0],
        ),
    ],
)
def test_each_rule_finds_the_rows_that_break_it(gate: Any, field: Field, values: list[Any], rows: list[int]) -> None:
    assert broken(gate, field, values) == rows


def test_a_value_that_its_carrier_cannot_hold_is_no_null_and_cannot_be_compared() -> None:
    nan = (Misfit(row=1, column="x", text="NaN", reason="not a number"),)
    assert broken({"not_null": "x"}, DEC, [None, None], nan) == [0]
    assert broken({"range": {"column": "x", "min": 0}}, DEC, [None, None], nan) == [1]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([{"not_nul": "x"}], "did you mean 'not_null'"),
        ([{"bogus": "x"}], "there are: min_records"),
        ([{"regex": {"column": "x", "pattern": "("}}], "cannot be used"),
        ([{"regex": {"column": "x", "pattern": r"(?=a)a"}}], "linear time"),
        ([{"regex": {"column": "x", "pattern": r"(a)\1"}}], "linear time"),
        ([{"regex": {"column": "x", "pattern": "(a{1000}){1000}"}}], "cannot be used"),
        ([{"unique": "x", "severity": "quarantine"}], "no rows to set aside"),
        ([{"not_null": "x", "mostly": 1.5}], "mostly"),
        ([{"not_null": "x", "mostly": float("nan")}], "mostly"),
        ([{"range": {"column": "x"}}], "one of min, max"),
        ([{"range": {"column": "x", "min": 2, "max": 1}}], "nothing lies between"),
        ([{"in_set": {"column": "x", "values": []}}], "something in it"),
        ([{"freshness": {"column": "x", "max_age": "soon"}}], "no length of time"),
        ([{"row_count": {"change": "lots"}}], "percentage"),
        ([{"not_null": "x"}, {"not_null": "x"}], "two gates"),
        ([{"not_null": "x", "unique": "x"}], "must name one rule"),
        (["not_null"], "no mapping"),
        ([{"not_null": "x", "when": "copies"}], "judges each row, of copies and of changes"),
        ([{"unique": "x", "when": "never"}], "always, copies"),
        ([{"unique": "x", "timeout": "soon"}], "no length of time"),
        ([{"not_null": "x", "timeout": "1s"}], "ask the staged rows"),
        ([{"not_null": "x", "severity": "loud"}], "warn, quarantine, block"),
    ],
)
def test_what_cannot_be_a_gate_is_refused_with_what_can(items: list[Any], words: str) -> None:
    with pytest.raises(SynclineError) as caught:
        parse_gates(items)
    assert caught.value.kind is ErrorKind.CONFIG
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("gate", "field"),
    [
        ({"range": {"column": "x", "min": 0}}, Field(name="x", type=pa.bool_())),
        ({"range": {"column": "x", "min": "yesterday"}}, TIME),
        ({"in_set": {"column": "x", "values": ["a"]}}, INT),
        ({"regex": {"column": "x", "pattern": "a"}}, Field(name="x", type=pa.binary())),
        ({"freshness": {"column": "x", "max_age": "1h"}}, INT),
    ],
)
def test_a_rule_that_means_nothing_for_a_type_is_refused_before_the_run(gate: Any, field: Field) -> None:
    with pytest.raises(SynclineError, match=r"column 'x'|tells no time"):
        Screen(parse_gates([gate]), StreamSchema(fields=(field,)))


def facts(rows: int, note: dict[str, Any], history: tuple[int, ...] = ()) -> Facts:
    return Facts(rows=rows, note=note, schema=StreamSchema(fields=(TEXT,)), history=history, now=datetime.now(UTC))


def verdicts(items: list[Any], known: Facts) -> list[Status]:
    return [r.status for r in judge(parse_gates(items), known)]


def test_counts_change_and_emptiness() -> None:
    assert verdicts([{"min_records": 100}], facts(99, {})) == [Status.BLOCKED]
    assert verdicts([{"min_records": 100, "severity": "warn"}], facts(0, {})) == [Status.WARNED]
    change = [{"row_count": {"change": "20%"}}]
    assert verdicts(change, facts(50, {})) == [Status.PASSED]  # nothing to compare with, and the result says so
    assert verdicts(change, facts(81, {}, (100, 100))) == [Status.PASSED]
    assert verdicts(change, facts(79, {}, (100, 100))) == [Status.BLOCKED]
    assert verdicts(change, facts(0, {}, (0, 0))) == [Status.PASSED]
    assert verdicts(change, facts(1, {}, (0, 0))) == [Status.BLOCKED]
    nothing = {"rows": 0, "gates": {"not_null x": [0, 0]}, "newest": {}}
    assert verdicts([{"not_null": "x"}], facts(0, nothing)) == [Status.EMPTY]
    assert verdicts([{"not_null": "x", "empty": "fail"}], facts(0, nothing)) == [Status.BLOCKED]
    assert verdicts([{"freshness": {"column": "x", "max_age": "1h"}}], facts(0, nothing)) == [Status.BLOCKED]


def test_mostly_is_of_the_judged_rows() -> None:
    note = {"rows": 100, "gates": {"not_null x": [100, 10]}, "newest": {}}
    assert verdicts([{"not_null": "x", "mostly": 0.9}], facts(100, note)) == [Status.PASSED]
    assert verdicts([{"not_null": "x", "mostly": 0.91}], facts(100, note)) == [Status.BLOCKED]


def test_notes_of_partitions_add_up() -> None:
    one = {"rows": 2, "gates": {"a": [2, 1]}, "newest": {"f": 5}}
    other = {"rows": 3, "gates": {"a": [3, 0], "b": [1, 1]}, "newest": {"f": 4}}
    assert merged(one, other) == {"rows": 5, "gates": {"a": [5, 1], "b": [1, 1]}, "newest": {"f": 5}}
    assert merged({}, one) == one


def test_limits_of_what_may_be_set_aside() -> None:
    default = Limits()
    assert not default.broken(10, 10)  # a small table is not failed for few bad rows
    assert not default.broken(10_000_000, 9_999)
    assert default.broken(10_000, 1_001)
    assert Limits(rows=0).broken(10, 1)
    assert Limits(percent=0).broken(10, 1)
    assert not Limits(rows=10).broken(10, 10)
    assert Limits(rows=100, percent=1).broken(1000, 11)
    assert default.error(10_000, 1_001).kind is ErrorKind.DATA


def test_a_gate_survives_json() -> None:
    (gate,) = parse_gates([{"range": {"column": "x", "min": datetime(2024, 1, 1, tzinfo=UTC)}, "severity": "warn"}])
    assert Gate.from_json(gate.to_json()) == gate
    assert gate.severity is Severity.WARN


def test_a_gate_that_was_read_is_read_again() -> None:
    items: list[Any] = [
        {"not_null": "x"},
        {"unique": ["x", "y"], "severity": "warn"},
        {"row_count": {"min": 1, "change": "5%"}},
        {"sql": "SELECT 1"},
        {"range": {"column": "x", "above": 1}, "mostly": 0.5, "name": "n"},
        {"references": {"column": "x", "table": "t", "to": "id"}},
        {"expectation": {"type": "expect_column_median_to_be_between", "kwargs": {"column": "x"}}},
    ]
    gates = parse_gates(items)
    assert parse_gates([g.to_json() for g in gates]) == gates


def test_an_expectation_that_nobody_knows_is_named_with_those_that_are_known() -> None:
    misspelt = {"type": "expect_column_values_to_not_be_nul", "kwargs": {"column": "x"}}
    (gate,) = parse_gates([{"expectation": misspelt}])
    with pytest.raises(SynclineError, match="expect_column_values_to_not_be_nul'") as error:
        ensure_library(gate)
    assert "did you mean 'expect_column_values_to_not_be_null'" in error.value.hint
    assert "expect_table_row_count_to_equal" in error.value.hint  # the list
