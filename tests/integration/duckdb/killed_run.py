"""One attempt in a process of its own, for the tests that kill it: ``python -m … <database> <write> <plan>``.

Goes on with an unfinished plan as the engine would; ends with a published one. The rows follow from the plan's number.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tests.integration.duckdb.driver import STREAM, Attempt, destination, people, plan, target

from syncline.core.batch import Batch
from syncline.core.checkpoint import Phase, StreamTarget
from syncline.core.stream import WriteMode

PARTITIONS = ("0", "1", "2")
ROWS = 1000


def aim(write: WriteMode, number: int) -> StreamTarget:
    key = ["id"] if write is not WriteMode.APPEND else []
    return target(write, generation=number, key=key, cursor="seen", dedupe=write is WriteMode.REPLACE)


def batches(number: int, partition: str) -> list[Batch]:
    """Keys of a partition, half of them also in the plan before; one of each batch has no key, one is there twice."""
    start = (number * 3 + int(partition)) * ROWS // 2
    rows = [(start + i, f"plan {number}", number) for i in range(ROWS)]
    return [people([*rows[:500], (None, "x", number)]), people([*rows[500:], rows[7]])]


def main(path: Path, write: WriteMode, number: int, prefix: str = "") -> None:
    """``prefix`` is that of the table, and the end of the connection's name."""
    to = destination(path, table_prefix=prefix)
    goal = replace(aim(write, number), connection="c" + prefix)
    entry = to.committed(goal.connection, STREAM)
    if entry is not None and entry.checkpoint.position == {"at": f"plan {number}"}:
        return
    resume = entry is not None and entry.checkpoint.phase is Phase.READING
    attempt = Attempt(to, goal, plan(*PARTITIONS, name=f"plan {number}"), resume=resume)
    for staged in attempt.recovered:
        sys.stdout.write(f"recovered {staged.partition}\n")
        attempt.commit(staged)
    for partition in PARTITIONS:
        if partition not in attempt.checkpoint.done:
            sys.stdout.write(f"read {partition}\n")
            sys.stdout.flush()
            attempt.commit(attempt.stage(partition, *batches(number, partition)))
    attempt.commit(publish=True)
    to.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), WriteMode(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
