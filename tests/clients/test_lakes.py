"""Tables after merges, deletes, other columns, compaction and a checkpoint, as another engine reads them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.clients.lakes import read_by_duckdb

from syncline.core.change import Evolution
from syncline.core.schema import Field
from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance.changes import ChangeFlow, delete, insert, made_row, update

pytestmark = pytest.mark.clients


@dataclass(frozen=True)
class _System:
    kind: str
    root: Path
    gaps = dict[str, str]()

    def reference(self) -> ConnectorReference:
        maintenance = {"compact_files": 3, "small_file_size": "1 MB"}
        config: dict[str, Any] = {"path": str(self.root), "maintenance": maintenance}
        if self.kind == "delta":
            config["checkpoint_interval"] = 4
        return ConnectorReference(type=self.kind, config=config)

    def rows(self, columns: object) -> None:
        return None

    def quarantined(self) -> int:
        return 0


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_duckdb_reads_what_a_followed_log_left(kind: str, tmp_path: Path) -> None:
    system = _System(kind, tmp_path / "lake")
    expected = {i: made_row(i) for i in range(30)}
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy(list(expected.values()))
        for i in range(22):  # past the twentieth, when small files are looked at
            changed = {**made_row(i), "price": 1000 + i}
            flow.flush(update(changed), insert(made_row(100 + i)))
            expected |= {i: changed, 100 + i: made_row(100 + i)}
        flow.flush(delete(made_row(25)))
        del expected[25]
        renamed = (Field(name="title", type=f.type) if f.name == "name" else f for f in flow.fields)
        flow.fields = (*renamed, Field(name="state", type=pa.string()))
        row = {**made_row(26), "title": "t", "state": "new"}
        flow.apply(update(row), evolution=Evolution(renamed={"title": "name"}, backfill={"state": pa.scalar("old")}))
        flow.commit()
    table = read_by_duckdb(kind, system.root, "items", tmp_path)
    found = {row["id"]: row for row in table.to_pylist()}
    assert table.num_rows == len(found)
    assert set(found) == set(expected)
    for key, wanted in expected.items():
        seen = found[key]
        assert (seen["kind"], seen["price"], seen["big"]) == (wanted["kind"], wanted["price"], wanted["big"])
        assert (seen["title"], seen["state"]) == (("t", "new") if key == 26 else (wanted["name"], "old"))
