"""Deliberate bugs, planted in a copy of the product: each is one edit of one file, and each must be caught.

An edit that no longer fits its file is an error: the suite must not pass because a bug was not there.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.faults.cdc_scenario import ROOT

__all__ = ["PLANTS", "Plant", "planted"]


@dataclass(frozen=True, kw_only=True)
class Plant:
    """``old`` stands exactly once in ``file`` (below src/syncline) and is replaced by ``new``.

    ``append``: it shows in a change log. ``kills``: the steps at which the follower is killed. ``copying``: the first
    copy is made under load. ``power``: the spool is durable, the destination goes away, and then the power."""

    name: str
    file: str
    old: str
    new: str
    append: bool = False
    kills: tuple[str, ...] = ()
    copying: bool = False
    power: bool = False


def planted(plant: Plant, folder: Path) -> Path:
    """A copy of the source directory with the bug; gives the directory to put on PYTHONPATH."""
    tree = folder / "src"
    shutil.copytree(ROOT / "src", tree, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    path = tree / "syncline" / plant.file
    text = path.read_text(encoding="utf-8")
    count = text.count(plant.old)
    if count != 1:
        raise AssertionError(f"{plant.name}: the place to plant it is {count} times in {plant.file}; mend the edit")
    path.write_text(text.replace(plant.old, plant.new), encoding="utf-8")
    return tree


_LOG = "connectors/postgres/changes"
_AGAIN = ("apply.inside:3", "apply.committed:4", "apply.position:2", "log.read:4")

PLANTS: tuple[Plant, ...] = (
    Plant(
        name="acknowledged before it is applied",
        file="engine/log_flowing.py",
        old='        failpoint("log.read")\n',
        new='        failpoint("log.read")\n        state.log.confirm(self._readers.main.position)\n',
    ),
    Plant(
        name="acknowledged what was received",
        file=f"{_LOG}/receive.py",
        old="        wanted = self._wanted\n",
        new="        wanted = max(self._wanted, self._spool.end)\n",
    ),
    Plant(
        name="position saved one page too far",
        file="engine/log_flowing.py",
        old="state.ledger.commit(lsn=flush.position, ",
        new="state.ledger.commit(lsn=flush.position + 8192, ",
        kills=_AGAIN,
    ),
    Plant(
        name="data committed before its position",
        file="connectors/postgres/writing/changes.py",
        old='            if self._open:\n                failpoint("apply.inside")\n',
        new='            if self._open:\n                self._volleys.fire([Shot(b"COMMIT"), Shot(b"BEGIN")])\n'
        '                failpoint("apply.inside")\n',
        append=True,
        kills=("apply.inside:3", "apply.inside:5", "apply.inside:2"),
    ),
    Plant(
        name="commit not atomic",
        file="connectors/postgres/writing/changes.py",
        old="            return self._merge(table, batch)\n",
        # With a pause, as a busy server makes it: else hardly anybody could look in between.
        new="            done = self._merge(table, batch)\n"
        '            self._volleys.fire([Shot(b"COMMIT"), Shot(b"SELECT pg_sleep(0.01)"), Shot(b"BEGIN")])\n'
        "            return done\n",
    ),
    Plant(
        name="bound of a partition off by one",
        file="connectors/postgres/reading/bounds.py",
        old='" > " if condition["low_open"] else " >= "',
        new='" > " if condition["low_open"] else " > "',
    ),
    Plant(
        name="snapshot's filter off",
        file=f"{_LOG}/reader.py",
        old="visible = shows(position.snapshot) if position.snapshot is not None else None",
        new="visible = None",
        append=True,
        copying=True,
    ),
    Plant(
        name="unchanged value taken for NULL",
        file=f"{_LOG}/decode.py",
        old="unchanged={names[index]: mask for index, mask in taken.masks.items()},",
        new="unchanged={},",
    ),
    Plant(
        name="rolled back subtransaction applied",
        file=f"{_LOG}/spool.py",
        old="                stream.aborted.add(subxid)\n",
        new="                pass\n",
    ),
    Plant(
        name="old key kept",
        file="sdk/collapse.py",
        old="np.flatnonzero(_numpy(batch.moved)) if batch.moved is not None else np.empty(0, np.int64)",
        new="np.empty(0, np.int64)",
    ),
    Plant(
        name="truncate ignored",
        file="connectors/postgres/writing/changes.py",
        old="            if found.truncate is not None:\n",
        new="            if found.truncate is not None and not found.truncate:\n",
    ),
    Plant(
        name="order within the transaction lost",
        file="sdk/metadata.py",
        old='"_syncline_ordinal": lambda batch: batch.ordinal.cast(pa.int64()),',
        new='"_syncline_ordinal": lambda batch: pa.repeat(pa.scalar(1, pa.int64()), batch.rows),',
        append=True,
    ),
    Plant(
        name="spool not brought to disk",
        file=f"{_LOG}/spool.py",
        old="                        _fsync(each.path)\n",
        new="                        pass\n",
        power=True,
    ),
)
