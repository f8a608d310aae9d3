"""The statements that change tables: what they touch, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow as pa

from syncline.connectors.bigquery.changes_merge import Clear, Fill, Merge, without_base
from syncline.connectors.bigquery.changes_rows import DELETE, UPSERT, joined, judged, reduced
from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.layout import layout_of
from syncline.connectors.bigquery.names import TableName, column_names
from syncline.connectors.bigquery.types import column_type
from syncline.connectors.bigquery.warehouse import Script
from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch, Op
from syncline.core.checkpoint import StreamTarget
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode

STREAM = StreamName(namespace="shop", name="items")
SCHEMA = StreamSchema(
    fields=(
        Field(name="id", type=pa.int64()),
        Field(name="v", type=pa.string()),
        Field(name="doc", type=pa.string(), logical="json"),
        Field(name="raw", type=pa.binary()),
    )
)
TARGET = StreamTarget(
    connection="c",
    stream=STREAM,
    schema=SCHEMA,
    write=WriteMode.MERGE,
    generation=1,
    sync_id="s",
    sync_date=date(2026, 1, 1),
    primary_key=("id",),
)
TABLE, STAGE = (TableName(project="p", dataset="d", name=n) for n in ("items", "stage"))
TYPES = {f.name: column_type(f) for f in SCHEMA.fields}
NAMES = column_names(SCHEMA.names, STREAM)


def merge(**more: object) -> Merge:
    made = Merge(target=TARGET, names=dict(NAMES), stage=STAGE, patterns=[frozenset()], ranges=[[1, 5], [90, 99]])
    return replace(made, **more)  # type: ignore[arg-type]


def sql(step: Merge | Clear | Fill) -> str:
    script = Script()
    step.add(script, TABLE, TYPES)
    return script.transaction


def test_a_merge_reads_only_the_ranges_and_converts() -> None:
    text = sql(merge())
    assert "ON t.`id` = s.c0 AND (t.`id` BETWEEN 1 AND 5 OR t.`id` BETWEEN 90 AND 99)" in text
    assert "PARSE_JSON(s.c2) AS c2" in text
    assert "FROM_HEX(s.c3) AS c3" in text
    assert "JOIN" not in text
    assert sql(merge(ranges=None)).count("BETWEEN") == 0


def test_what_an_update_left_out_keeps_its_value() -> None:
    text = sql(merge(patterns=[frozenset(), frozenset({"doc"})]))
    assert "`doc` = IF(s.pattern IN (1), t.`doc`, s.c2)" in text
    assert "`v` = s.c1" in text
    assert "JOIN" not in text
    moved = sql(merge(patterns=[frozenset(), frozenset({"doc"})], moves=True))
    assert "LEFT JOIN `p`.`d`.`items` AS b ON s.c6 = 1 AND b.`id` = s.c8 AND (b.`id` BETWEEN" in moved
    assert "`doc` = IF(s.pattern IN (1), IF(s.moved = 1, s.b0, t.`doc`), s.c2)" in moved


def test_rows_without_a_base_are_looked_for_in_earlier_steps_too() -> None:
    step = merge(patterns=[frozenset({"doc"})])
    assert "LEFT JOIN (SELECT `id`, TRUE AS present" in without_base(step, [], str(TABLE), TYPES)
    later = without_base(step, [merge()], str(TABLE), TYPES)
    assert f"IF(e.act IS NULL, b.present IS NULL, e.act = {DELETE})" in later
    cleared = without_base(step, [merge(), Clear(target=TARGET, names=NAMES)], str(TABLE), TYPES)
    assert "JOIN" not in cleared
    assert f"s.c4 = {UPSERT} AND s.c5 IN (0) AND TRUE" in cleared


def test_a_filled_column_is_not_filled_twice() -> None:
    text = sql(Fill(target=TARGET, names=NAMES, column="v", value=pa.scalar("it's")))
    assert "SET `v` = CAST(@v0 AS STRING)" in text
    assert "NOT EXISTS (SELECT 1 FROM `p`.`d`.`items` WHERE `v` IS NOT NULL)" in text


def changes(*rows: tuple[Op, int, str | None], moved: dict[int, int] | None = None, **more: object) -> ChangeBatch:
    count = len(rows)
    data = pa.RecordBatch.from_pylist(
        [{"id": i, "v": v, "doc": None, "raw": None} for _, i, v in rows], schema=SCHEMA.arrow()
    )
    old = pa.RecordBatch.from_pylist(
        [{"id": (moved or {}).get(n)} for n in range(count)], schema=SCHEMA.arrow().empty_table().select(["id"]).schema
    )
    made = ChangeBatch(
        schema=SCHEMA,
        data=data,
        op=pa.array([int(op) for op, _, _ in rows], pa.uint8()),
        lsn=pa.array(range(1, count + 1), pa.uint64()),
        ordinal=pa.array([1] * count, pa.uint32()),
        committed_at=pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * count, pa.timestamp("us", tz="UTC")),
        old_key=old if moved else None,
        moved=pa.array([n in moved for n in range(count)]) if moved else None,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def test_batches_of_a_flush_become_one_row_for_each_key() -> None:
    several = [
        changes((Op.INSERT, 1, "a"), (Op.INSERT, 2, "b")),
        changes((Op.UPDATE, 3, "c"), moved={0: 1}),
        changes((Op.DELETE, 2, None)),
    ]
    [found] = reduced(TARGET, joined(several), datetime(2026, 1, 1, tzinfo=UTC))
    assert found.frame is not None
    rows = [(r["id"], r["_syncline_act"]) for r in found.frame.data.to_pylist()]
    assert sorted(rows) == [(1, DELETE), (2, DELETE), (3, UPSERT)]


def test_a_row_that_cannot_be_held_still_leaves_its_former_key() -> None:
    misfits = (Misfit(row=0, column="v", text="x", reason="bad"), Misfit(row=1, column="v", text="y", reason="bad"))
    batch = changes((Op.UPDATE, 9, None), (Op.INSERT, 5, None), (Op.INSERT, 6, "fine"), moved={0: 4}, misfits=misfits)
    kept, aside = judged(batch, ("id",))
    assert len(aside) == 2
    assert [(r["id"], op) for r, op in zip(kept.data.to_pylist(), kept.op.to_pylist(), strict=True)] == [
        (4, int(Op.DELETE)),
        (6, int(Op.INSERT)),
    ]


def test_layouts() -> None:
    def made(**more: object) -> str:
        config = BigqueryDestinationConfig.model_validate({"project_id": "p", "dataset_id": "d", **more})
        return layout_of(config, TARGET, NAMES, TYPES).clauses

    assert made() == "CLUSTER BY `id`"
    by_key = "PARTITION BY RANGE_BUCKET(`id`, GENERATE_ARRAY(0, 40000, 10))\nCLUSTER BY `id`"
    assert made(partitioning="key", key_partition_size=10) == by_key
    assert made(partitioning="extracted_at") == "CLUSTER BY `id`", "without the column there is nothing to go by"
