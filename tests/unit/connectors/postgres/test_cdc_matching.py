"""Which column is which, by number; which types widen; how long until a limit; from where to receive."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from syncline.connectors.postgres.changes.continuity import Held, receive_from
from syncline.connectors.postgres.changes.guard import seconds_left
from syncline.connectors.postgres.changes.lsn import lsn_from_text, lsn_to_text
from syncline.connectors.postgres.changes.matching import Unsafe, match_columns
from syncline.connectors.postgres.changes.numbering import Unclear, number_columns
from syncline.connectors.postgres.changes.retype import widens
from syncline.connectors.postgres.changes.slot import Slot
from syncline.connectors.postgres.changes.table import Attribute, TableNow
from syncline.core.errors import SynclineError
from syncline.core.schema import Field
from syncline.core.stream import StreamName


def table(*names: str | None, hidden: str = "") -> TableNow:
    """A table with these columns in order; None for one that was dropped, ``hidden`` for one that we may not read."""
    return TableNow(
        oid=1,
        name=StreamName(namespace="public", name="t"),
        relkind="r",
        persistence="p",
        attributes=tuple(
            Attribute(
                number=i,
                name=name or f"........pg.dropped.{i}........",
                type_oid=0 if name is None else 23,
                modifier=-1,
                dimensions=0,
                dropped=name is None,
                has_default=False,
                readable=name != hidden,
                given=0,
                given_text=None,
            )
            for i, name in enumerate(names, start=1)
        ),
    )


def match(names, known, now, before=None, highest=0, wanted=None):
    return match_columns(names, known, now, before=before, highest=highest, wanted=wanted)


def test_numbers_are_found_between_those_that_are_known():
    assert number_columns(["a", "x", "c"], {"a": 1, "c": 3}, [2, 4]) == {"a": 1, "x": 2, "c": 3}
    assert number_columns(["x", "y"], {}, [1, 2]) == {"x": 1, "y": 2}
    for names, anchors, free in ((["x"], {}, [1, 2]), (["a", "b"], {"a": 2, "b": 1}, []), (["x", "a"], {"a": 1}, [])):
        with pytest.raises(Unclear):
            number_columns(names, anchors, free)


def test_by_numbers_a_rename_is_a_rename_and_an_addition_an_addition():
    found = match(["a", "z", "new"], ["a", "b"], table("a", "z", "new"), before={"a": 1, "b": 2}, highest=2)
    assert (found.former, found.added) == ({"a": "a", "z": "b"}, {"new"})


def test_names_that_were_exchanged_by_the_time_of_reading_are_told_by_what_was_known():
    now, before = table("id", "b", "a"), {"id": 1, "a": 2, "b": 3}
    assert match(["id", "a", "b"], ["id", "a", "b"], now, before=before).former == {"id": "id", "a": "a", "b": "b"}
    assert match(["id", "b", "a"], ["id", "a", "b"], now, before=before).former == {"id": "id", "b": "a", "a": "b"}


def test_a_name_that_may_mean_either_of_two_columns_is_not_guessed():
    with pytest.raises(Unsafe, match="dropped and another added"):
        match(["id", "v"], ["id", "v"], table("id", None, "v"), before={"id": 1, "v": 2}, highest=2)


def test_without_known_numbers_the_catalogue_decides_or_nobody():
    assert match(["a", "new"], ["a", "old"], table("a", "new")).former == {"a": "a", "new": "old"}
    assert match(["a", "c"], ["a", "b", "c"], table("a", None, "c")).former == {"a": "a", "c": "c"}
    with pytest.raises(Unsafe, match="cannot be told"):
        match(["a", "new"], ["a", "old"], table("a", None, "new"))
    with pytest.raises(Unsafe, match="cannot be told"):
        match(["a", "new"], ["a", "old"], None)
    assert match(["a", "new"], ["a"], None).added == {"new"}


def test_columns_that_were_not_taken_stay_out_and_are_not_taken_later_by_accident():
    now = table("a", "secret", "b", hidden="secret")
    assert match(["a", "secret", "b"], ["a", "b"], now, before={"a": 1, "b": 3}, highest=3).added == frozenset()
    known = {"before": {"a": 1}, "highest": 3}
    assert match(["a", "secret", "b"], ["a"], now, wanted=frozenset({"a"}), **known).added == frozenset()
    with pytest.raises(Unsafe, match="b is selected now"):
        match(["a", "secret", "b"], ["a"], now, **known)


def field(native: str, kind: pa.DataType, logical: str | None = None) -> Field:
    return Field(name="v", type=kind, native=native, logical=logical)


TEXT = pa.string()


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        (field("smallint", pa.int16()), field("bigint", pa.int64()), True),
        (field("bigint", pa.int64()), field("integer", pa.int32()), False),
        (field("integer", pa.int32()), field("numeric(12,2)", pa.decimal128(12, 2)), True),
        (field("integer", pa.int32()), field("numeric(9,0)", pa.decimal128(9, 0)), False),
        (field("bigint", pa.int64()), field("numeric", TEXT, "numeric"), True),
        (field("integer", pa.int32()), field("text", TEXT), False),
        (field("integer", pa.int32()), field("money", TEXT, "numeric"), False),
        (field("real", pa.float32()), field("double precision", pa.float64()), True),
        (field("numeric(6,2)", pa.decimal128(6, 2)), field("numeric(8,2)", pa.decimal128(8, 2)), True),
        (field("numeric(6,2)", pa.decimal128(6, 2)), field("numeric(8,5)", pa.decimal128(8, 5)), False),
        (field("character varying(5)", TEXT), field("character varying(9)", TEXT), True),
        (field("character varying(9)", TEXT), field("character varying(5)", TEXT), False),
        (field("character varying", TEXT), field("character varying(5)", TEXT), False),
        (field("character varying(5)", TEXT), field("text", TEXT), True),
        (field("character(5)", TEXT), field("text", TEXT), False),
        (field("mood", TEXT, "enum"), field("text", TEXT), True),
        (field("json", TEXT, "json"), field("text", TEXT), False),
        (
            field("timestamp(3) without time zone", pa.timestamp("us")),
            field("timestamp without time zone", pa.timestamp("us")),
            True,
        ),
        (
            field("timestamp without time zone", pa.timestamp("us")),
            field("timestamp(0) without time zone", pa.timestamp("us")),
            False,
        ),
        (field("date", pa.date32()), field("timestamp without time zone", pa.timestamp("us")), False),
    ],
)
def test_what_keeps_every_value(narrow, wide, expected):
    assert widens(narrow, wide) is expected


def test_time_left_follows_the_rate_of_growth():
    assert seconds_left([(0.0, 0), (10.0, 1000)], 5000) == 50.0
    assert seconds_left([(0.0, 1000), (10.0, 1000)], 5000) is None
    assert seconds_left([(0.0, 0), (10.0, 1000)], None) is None
    assert seconds_left([(0.0, 0)], 10) is None


def test_lsns_are_printed_as_the_server_prints_them():
    for text in ("0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"):
        assert lsn_to_text(lsn_from_text(text)) == text


def slot(confirmed: int) -> Slot:
    return Slot(
        name="s",
        plugin="pgoutput",
        database="d",
        active_pid=None,
        restart=0,
        confirmed=confirmed,
        state="reserved",
        room=None,
        two_phase=False,
        failover=False,
        synced=False,
        temporary=False,
        reason="",
    )


def test_receiving_begins_where_spool_and_slot_together_have_everything():
    held = Held(empty=False, begin=100, end=300, identity="x")
    usual: dict[str, Any] = {"known": True, "switch": None, "now": 500}
    assert receive_from(slot(250), held, 200, **usual) == (300, False)
    assert receive_from(slot(40), held, 50, **usual) == (50, True)  # the spool begins too late, the slot does not
    assert receive_from(slot(150), held, None, **usual) == (500, True)  # nothing old is needed
    assert receive_from(slot(150), held, 200, **{**usual, "known": False}) == (200, True)
    assert receive_from(slot(150), held, 200, **{**usual, "switch": 250}) == (200, True)  # filled beyond the switch
    for confirmed, lowest, more in ((301, 200, {}), (250, 90, {}), (250, 200, {"known": False})):
        with pytest.raises(SynclineError, match="somebody advanced the slot"):
            receive_from(slot(confirmed), held, lowest, **{**usual, **more})
