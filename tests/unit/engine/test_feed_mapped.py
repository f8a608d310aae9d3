"""A fed source seen through mappings: names, rows and states come out under the new names, and go on from there."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.schema import Field
from syncline.engine.events import Event
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import run_attempt
from syncline.sdk.feed import ReadsFeed
from syncline.sdk.mapping import checked_blocks, mapped_source
from syncline.sdk.reference import ConnectorReference
from syncline.sdk.source import ReadsRaw
from syncline.testing.memory import register_memory, world
from syncline.testing.memory_feed import MemoryFeedSource, feed_style, register_memory_feed

register_memory()
register_memory_feed()
_names = itertools.count()
FIELDS = (Field(name="id", type=pa.int64()), Field(name="v", type=pa.string()))
BLOCKS = checked_blocks(
    [
        {
            "from": "a",
            "to": "mapped",
            "steps": [{"filter": "id % 2 = 0"}, {"hash": ["v"]}],
            "field_mappings": {"id": "no"},
        }
    ]
)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("mode", ["full_refresh_overwrite", "incremental_append", "incremental_deduped_history"])
def test_a_feed_is_mapped_and_goes_on(tmp_path: Path, mode: str, common: bool) -> None:
    name = f"mapped feed {next(_names)}"
    feed_style(name).common = common
    here = world(name)
    for stream in ("a", "b"):
        here.table(stream, FIELDS, [{"id": i, "v": f"{stream}{i}"} for i in range(10)], ("id",))
    events: list[Event] = []

    def run() -> None:
        spec = AttemptSpec(
            connection="c",
            source=ConnectorReference(type="memory-feed", config={"world": name}, mappings=BLOCKS),
            destination=ConnectorReference(type="memory", config={"world": name}),
            choices=(StreamChoice(name="a", primary_key=("id",)), StreamChoice(name="b")),
            default=StreamChoice(mode=mode),
            sync_id=new_sync_id(),
            sync_date=now().date(),
            started_at=now(),
            attempt=1,
            work_dir=str(tmp_path),
        )
        assert AttemptSpec.from_json(spec.to_json()) == spec
        result = run_attempt(spec, events.append, LocalExecutor)
        assert result.succeeded, result.error
        assert [s.stream.name for s in result.streams] == ["mapped", "b"]

    run()
    here.tables["a"] += [{"id": i, "v": f"a{i}"} for i in (10, 11, 12)]
    run()
    expected = [(i, hashlib.sha256(f"a{i}".encode()).hexdigest()) for i in range(0, 13, 2)]
    assert [(r["no"], r["v"]) for r in here.visible["mapped"]] == expected
    assert len(here.visible["b"]) == 10
    assert "a" not in here.visible


def test_a_mapped_source_has_the_abilities_of_its_source_and_no_other() -> None:
    inner: Any = MemoryFeedSource.__new__(MemoryFeedSource)
    mapped = mapped_source(inner, BLOCKS)
    assert isinstance(mapped, ReadsFeed)
    assert not isinstance(mapped, ReadsRaw)
    assert mapped_source(mapped) is mapped
