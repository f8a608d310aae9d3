"""Records and columns, parents, cursors and windows of time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.integration.rest_api.harness import Reader

from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.saas.api_server import ApiServer, Asked

NOW = datetime.now(UTC).replace(microsecond=0)


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _only(answer: Any) -> Callable[[Asked], Any]:
    return lambda asked: answer


def test_columns_are_inferred_and_then_kept(tmp_path: Path) -> None:
    first = [
        {
            "id": 1,
            "n": 1,
            "f": 1,
            "day": "2026-01-02",
            "at": "2026-01-02T03:04:05Z",
            "t": "x",
            "b": True,
            "o": {"a": 1},
        },
        {
            "id": 2,
            "n": None,
            "f": 0.5,
            "day": None,
            "at": "2026-01-02 03:04:05.25+02:00",
            "t": "2026-01-02",
            "big": 2**70,
        },
    ]
    api = ApiServer(lambda asked: first)
    with api:
        reader = Reader(tmp_path, url=f"{api.url}/things", primary_key="id")
        expected = {
            "id": "int64",
            "n": "int64",
            "f": "double",
            "day": "date32[day]",
            "at": "timestamp[us, tz=UTC]",
            "t": "string",
            "b": "bool",
            "o": "json",
            "big": "numeric",
            "_extra": "json",
        }
        assert reader.columns() == expected
        read = reader.good()
        assert read.rows[1]["big"] == str(2**70)
        assert read.rows[0]["o"] == '{"a": 1}'
        # What comes later does not fit: nothing is lost, everything is counted.
        first[:] = [
            {"id": "3", "n": 2.0, "f": "1.5", "day": "soon", "t": 7, "new": {"x": [1]}, "Id": "other"},
            {"id": 4, "n": "many"},
        ]
        later = reader.good()
        assert reader.columns() == expected
        assert [row["id"] for row in later.rows] == [3, 4]
        assert (later.rows[0]["n"], later.rows[0]["f"], later.rows[0]["t"]) == (2, 1.5, "7")
        assert json.loads(later.rows[0]["_extra"]) == {"new": {"x": [1]}, "Id": "other"}
        assert later.rows[1]["_extra"] is None
        assert {(m.row, m.column, m.text) for m in later.misfits} == {(0, "day", '"soon"'), (1, "n", '"many"')}
        said = "\n".join(later.logs)
        assert "kept in the column _extra: " in said
        assert "new (1)" in said
        assert "column day: 1 values were not of its type; 0 were turned into it without loss, 1 set aside" in said
        assert "column id: 1 values" in said


def test_extra_fields_can_be_left_out(tmp_path: Path) -> None:
    with ApiServer(_only([{"id": 1, "more": 2}])) as api:
        schema = {"properties": {"id": {"type": "integer"}}}
        read = Reader(tmp_path, url=f"{api.url}/things", schema=schema, extra_column=None).good()
        assert read.rows == [{"id": 1}]
        assert any("left out: more (1)" in line for line in read.logs)


def test_where_the_records_are(tmp_path: Path) -> None:
    inner = [{"id": 1}, {"id": 2}]
    for answer, records, ids in (
        (inner, None, [1, 2]),
        ({"meta": {}, "results": inner, "errors": []}, None, [1, 2]),
        ({"orders": inner, "count": 2}, None, [1, 2]),
        ({"a.b": {"::x": inner}}, "['a.b']['::x']", [1, 2]),
        ({"pages": [{"items": inner}, {"items": [{"id": 3}]}]}, "pages[*].items", [1, 2, 3]),
        ({"id": 9}, "$", [9]),
        ({"data": {"id": 9}}, "data", [9]),
        ({"data": []}, None, []),
    ):
        with ApiServer(_only(answer)) as api:
            config: dict[str, Any] = {"url": f"{api.url}/things", "schema": {"properties": {"id": {"type": "integer"}}}}
            if records is not None:
                config["records"] = records
            assert Reader(tmp_path, **config).good().column("id") == ids
    with ApiServer(_only({"orders": inner, "lines": inner})) as api:
        with pytest.raises(SynclineError) as caught:
            Reader(tmp_path, url=f"{api.url}/things").good()
        assert caught.value.kind is ErrorKind.CONFIG
        assert "It has orders, lines" in caught.value.message


def test_records_are_taken_apart_and_completed(tmp_path: Path) -> None:
    orders = [
        {"id": 1, "attributes": {"id": "inner", "sum": 5}, "lines": [{"sku": "a"}, {"sku": "b"}]},
        {"id": 2, "attributes": {"sum": 6}, "lines": []},
        {"id": 3},
    ]
    with ApiServer(_only({"data": orders})) as api:
        flat = Reader(tmp_path, url=f"{api.url}/orders", flatten=["attributes"]).good()
        assert [(r["id"], r["sum"]) for r in flat.rows] == [(1, 5), (2, 6), (3, None)]
        lines = Reader(tmp_path, url=f"{api.url}/lines", explode="lines", keep={"order_id": "id"}).good()
        assert [(r["order_id"], r["sku"]) for r in lines.rows] == [(1, "a"), (1, "b")]
        named = Reader(tmp_path, url=f"{api.url}/named", fields={"order": "id", "total": "attributes.sum"}).good()
        assert [(r["order"], r["total"]) for r in named.rows] == [(1, 5), (2, 6), (3, None)]


def test_the_same_page_twice_is_no_endless_loop(tmp_path: Path) -> None:
    with ApiServer(_only([{"id": 1}])) as api:
        reader = Reader(tmp_path, url=f"{api.url}/things", pagination="offset", schema={"properties": {"id": {}}})
        with pytest.raises(SynclineError, match="the same page again and again"):
            reader.good()
        assert len(api.asked) == 2


class _Projects:
    """Projects and their tasks."""

    def __init__(self) -> None:
        self.tasks = {3: [1, 2], 1: [1], 20: [], 7: [5, 6, 7]}

    def __call__(self, asked: Asked) -> Any:
        if asked.path == "/projects":
            keys = list(self.tasks)
            start = int(asked.query.get("cursor", 0))
            more = start + 2 < len(keys)
            return {
                "data": [{"id": k, "title": f"p{k}"} for k in keys[start : start + 2]],
                "next": start + 2 if more else None,
            }
        key = int(asked.path.split("/")[2])
        since = asked.query.get("since", "")
        rows: list[dict[str, Any]] = [{"id": n, "at": _iso(NOW - timedelta(days=n))} for n in self.tasks[key]]
        return [r for r in rows if r["at"] >= since]


def _projects(url: str, folder: Path, **more: Any) -> Reader:
    return Reader(
        folder,
        base_url=url,
        pagination={"type": "cursor", "cursor_path": "next"},
        streams=[
            {"name": "projects", "path": "/projects", "primary_key": "id"},
            {
                "name": "tasks",
                "path": "/projects/{parent.id}/tasks",
                "primary_key": ["project_id", "id"],
                "parent": {"stream": "projects", "include": {"project_id": "id", "title": "title"}},
                **more,
            },
        ],
    )


def test_children_of_every_parent(tmp_path: Path) -> None:
    with ApiServer(_Projects()) as api:
        rows = _projects(api.url, tmp_path).good("tasks").rows
        assert [(r["project_id"], r["id"]) for r in rows] == [(1, 1), (3, 1), (3, 2), (7, 5), (7, 6), (7, 7)]
        assert rows[0]["title"] == "p1"


def test_children_go_on_with_the_parent_that_failed(tmp_path: Path) -> None:
    projects = _Projects()
    incremental = {"cursor_field": "at", "parameter": "since"}
    with ApiServer(projects) as api:
        reader = _projects(api.url, tmp_path, incremental=incremental)
        reader.columns("tasks")
        api.fail(400, path="/projects/7/")
        first = reader.read("tasks")
        assert first.error is not None
        assert first.state["pass"]["parent"] == 3
        second = reader.good("tasks", state=first.state)
        assert [(r["project_id"], r["id"]) for r in second.rows] == [(7, 5), (7, 6), (7, 7)]
        projects.tasks[20] = [0]
        third = reader.good("tasks", state=second.state)
        assert [(r["project_id"], r["id"]) for r in third.rows] == [(20, 0)]


class _Log:
    """Rows with a time of change, given at or after ``since`` (in the form that is asked for), in no order."""

    def __init__(self, form: Callable[[datetime], Any] = _iso) -> None:
        self.rows: list[dict[str, Any]] = []
        self.form = form
        self.asked: list[dict[str, str]] = []

    def put(self, key: int, at: datetime, **more: Any) -> None:
        self.rows = [r for r in self.rows if r["id"] != key] + [{"id": key, "at": self.form(at), "v": 0, **more}]

    def __call__(self, asked: Asked) -> Any:
        self.asked.append(dict(asked.query))
        low, high = asked.query.get("since"), asked.query.get("until")
        kind = type(self.form(NOW))
        found = [r for r in self.rows if low is None or r["at"] >= kind(low)]
        return [r for r in found if high is None or r["at"] <= kind(high)]


def _incremental(url: str, folder: Path, **incremental: Any) -> Reader:
    config = {"cursor_field": "at", "parameter": "since", **incremental}
    return Reader(folder, url=f"{url}/log", primary_key="id", incremental=config)


@pytest.mark.parametrize(
    ("form", "name"),
    [(_iso, "iso"), (lambda at: int(at.timestamp()), "unix"), (lambda at: int(at.timestamp() * 1000), "unix_ms")],
)
def test_the_boundary_comes_again_and_is_given_once(tmp_path: Path, form: Callable[[datetime], Any], name: str) -> None:
    log = _Log(form)
    for key in range(5):
        log.put(key, NOW - timedelta(hours=1 if key < 3 else 2))
    with ApiServer(log) as api:
        reader = _incremental(api.url, tmp_path, format=name)
        first = reader.good()
        assert sorted(first.column("id")) == [0, 1, 2, 3, 4]
        assert reader.good(state=first.state).rows == []
        log.put(9, NOW - timedelta(hours=1))  # late, and exactly at the cursor
        log.put(1, NOW - timedelta(hours=1), v=1)  # changed, its time did not move
        second = reader.good(state=first.state)
        assert sorted((r["id"], r["v"]) for r in second.rows) == [(1, 1), (9, 0)]
        assert reader.good(state=second.state).rows == []
        assert log.asked[-1]["since"] == str(form(NOW - timedelta(hours=1)))


def test_looking_back_gives_only_what_is_new(tmp_path: Path) -> None:
    log = _Log()
    for key in range(4):
        log.put(key, NOW - timedelta(minutes=10 * key + 1))
    with ApiServer(log) as api:
        reader = _incremental(api.url, tmp_path, lookback="1h")
        state = reader.good().state
        log.put(8, NOW - timedelta(minutes=15))  # committed late, behind the cursor
        found = reader.good(state=state)
        assert found.column("id") == [8]
        assert reader.good(state=found.state).rows == []


def test_a_time_ahead_of_the_clock_holds_nothing_back(tmp_path: Path) -> None:
    log = _Log()
    log.put(1, NOW + timedelta(days=365))
    with ApiServer(log) as api:
        reader = _incremental(api.url, tmp_path)
        state = reader.good().state
        log.put(2, datetime.now(UTC) + timedelta(seconds=5))
        assert reader.good(state=state).column("id") == [2]


def test_an_api_that_cannot_filter(tmp_path: Path) -> None:
    log = _Log()
    log.put(1, NOW - timedelta(hours=3))
    log.put(2, NOW - timedelta(hours=2))
    with ApiServer(log) as api:
        reader = _incremental(api.url, tmp_path, parameter=None, start=_iso(NOW - timedelta(hours=2, minutes=30)))
        first = reader.good()
        assert first.column("id") == [2]
        log.put(3, NOW - timedelta(hours=1))
        assert reader.good(state=first.state).column("id") == [3]


def test_windows_of_time_are_checkpoints(tmp_path: Path) -> None:
    log = _Log()
    for days in (95, 61, 60, 30, 1):
        log.put(days, NOW - timedelta(days=days))
    with ApiServer(log) as api:
        start = _iso(NOW - timedelta(days=100))
        reader = _incremental(api.url, tmp_path, start=start, step="30d", end_parameter="until")
        read = reader.good()
        assert sorted(read.column("id")) == [1, 30, 60, 61, 95]
        asked = [(q["since"], q["until"]) for q in log.asked[-4:]]
        assert asked[0][0] == start
        assert [one[1] == following[0] for one, following in pairwise(asked)] == [True] * 3


def test_a_cursor_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with ApiServer(_only([{"id": 1, "at": "yesterday"}])) as api:
        with pytest.raises(SynclineError, match="'yesterday'") as caught:
            _incremental(api.url, tmp_path).good()
        assert caught.value.kind is ErrorKind.DATA


def test_bodies_leave_out_what_has_no_value(tmp_path: Path) -> None:
    bodies: list[Any] = []

    def answer(asked: Asked) -> Any:
        bodies.append(asked.body)
        return {
            "data": [{"id": len(bodies), "at": _iso(NOW - timedelta(hours=1))}],
            "next": "t2" if len(bodies) % 2 else None,
        }

    with ApiServer(answer) as api:
        reader = Reader(
            tmp_path,
            url=f"{api.url}/search",
            method="post",
            body={
                "filters": [{"field": "at", "op": ">=", "value": "{since}"}, {"field": "kind", "value": "x"}],
                "page": {"after": "{after}"},
                "limit": "{limit}",
                "query": "query { things { id } }",
            },
            pagination={"type": "cursor", "cursor_path": "next", "cursor_parameter": None, "size_parameter": None,
                        "page_size": 5},
            incremental={"cursor_field": "at"},
            schema={"properties": {"id": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}}},
        )  # fmt: skip
        state = reader.good().state
        rest = {"limit": 5, "query": "query { things { id } }"}
        kind = {"field": "kind", "value": "x"}
        assert bodies == [{"filters": [kind], **rest}, {"filters": [kind], "page": {"after": "t2"}, **rest}]
        reader.good(state=state)
        since = {"field": "at", "op": ">=", "value": _iso(NOW - timedelta(hours=1))}
        assert bodies[2] == {"filters": [since, kind], **rest}


def test_an_empty_api_is_read_and_looked_at_again(tmp_path: Path) -> None:
    rows: list[Any] = []
    with ApiServer(lambda asked: rows) as api:
        reader = Reader(tmp_path, url=f"{api.url}/things", primary_key="id")
        assert reader.good().rows == []
        rows.append({"id": 1, "name": "first"})
        assert reader.columns() == {"id": "int64", "name": "string", "_extra": "json"}
