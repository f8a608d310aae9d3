"""One attempt that follows a log, in a process of its own, for the tests that kill it: ``python -m … FOLDER``.

Standard input is the destination's reference as JSON. Two flushes: the first changes row 1, the second inserts row 50,
deletes row 2 and, where the third argument says so, adds a column.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from syncline.core.change import Evolution
from syncline.core.schema import Field
from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance.changes import FIELDS, ChangeFlow, delete, insert, made_row, update

__all__ = ["flushes"]


class _System:
    def __init__(self, reference: ConnectorReference) -> None:
        self.gaps: dict[str, str] = {}
        self._reference = reference

    def reference(self) -> ConnectorReference:
        return self._reference

    def rows(self, columns: object) -> None:
        return None

    def quarantined(self) -> int:
        return 0


def flushes(flow: ChangeFlow, *, evolve: bool = False) -> None:
    """Both flushes."""
    flow.flush(update({**made_row(1), "price": 5}, "huge"))
    flow.apply(insert(made_row(50)))
    if evolve:
        flow.fields = (*FIELDS, Field(name="extra", type=pa.string()))
        flow.apply(update({**made_row(3), "extra": "x"}), evolution=Evolution(backfill={"extra": pa.scalar("e")}))
    flow.apply(delete(made_row(2)))
    flow.commit()


if __name__ == "__main__":
    system = _System(ConnectorReference.from_json(json.load(sys.stdin)))
    with closing(ChangeFlow(system, Path(sys.argv[1]))) as opened:
        flushes(opened, evolve=len(sys.argv) > 2)
