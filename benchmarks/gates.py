"""CPU seconds of the screen that looks through every batch for quality gates, per million rows and rule.

python benchmarks/gates.py
"""

from __future__ import annotations

import json
import time

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.schema import Field, StreamSchema
from syncline.quality.rules import parse_gates
from syncline.quality.screen import Screen

ROWS, BATCHES = 50_000, 20
SCHEMA = StreamSchema(
    fields=(
        Field(name="id", type=pa.int64()),
        Field(name="email", type=pa.string()),
        Field(name="state", type=pa.string()),
        Field(name="amount", type=pa.decimal128(15, 2)),
    )
)
RULES = {
    "not_null": {"not_null": "id"},
    "in_set": {"in_set": {"column": "state", "values": ["open", "closed", "lost"]}},
    "regex": {"regex": {"column": "email", "pattern": r"^[\w\.-]+@[\w\.-]+\.\w+$"}},
    "range": {"range": {"column": "amount", "min": 0, "max": 1_000_000}},
}


def main() -> None:
    data = pa.RecordBatch.from_arrays(
        [
            pa.array(range(ROWS), pa.int64()),
            pa.array([f"user{i}@example.org" for i in range(ROWS)], pa.string()),
            pa.array([("open", "closed", "lost")[i % 3] for i in range(ROWS)], pa.string()),
            pa.array(range(ROWS), pa.int64()).cast(pa.decimal128(21, 2)).cast(pa.decimal128(15, 2)),
        ],
        schema=SCHEMA.arrow(),
    )
    found = {}
    for name, rules in {**{k: [v] for k, v in RULES.items()}, "all": list(RULES.values())}.items():
        screen = Screen(parse_gates(rules), SCHEMA)
        began = time.process_time()
        for _ in range(BATCHES):
            screen(Batch(data=data))
        found[name] = round((time.process_time() - began) * 1e6 / (ROWS * BATCHES), 3)
    print(json.dumps({"cpu_seconds_per_million_rows": found}))


if __name__ == "__main__":
    main()
