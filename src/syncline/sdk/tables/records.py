"""The ledger's entries in full, as small objects beside the table.

A table's own commit holds the pointer: token and sequence (:class:`~syncline.sdk.tables.table.Pointer`). The record of
that name was put before the commit, so that it is there whenever the pointer says so; a record that no pointer names
belongs to nobody, and so do the files it speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from syncline.core.checkpoint import LedgerEntry, StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import ReadPlan
from syncline.sdk.files.store import ObjectStore, StagedObject
from syncline.sdk.tables.table import Pointer, TableFile

__all__ = ["Record", "Records"]

_FORMAT = 1
_READERS = 8


@dataclass(frozen=True, kw_only=True)
class Record:
    """One entry. ``plan_at``: the record that holds the plan, when it is not this one. ``hidden``: the records whose
    ``added`` files are the generation that is not whole yet. ``quarantine`` are the uploads that this commit makes
    visible; ``previous`` is the record before this one."""

    pointer: Pointer
    checkpoint: StreamCheckpoint
    plan_at: str | None = None
    hidden: tuple[str, ...] = ()
    added: tuple[TableFile, ...] = ()
    quarantine: tuple[StagedObject, ...] = ()
    previous: str | None = None

    @property
    def entry(self) -> LedgerEntry:
        return LedgerEntry(token=self.pointer.token, checkpoint=self.checkpoint)

    @property
    def needed(self) -> frozenset[str]:
        """Names of the records that must stay as long as this one counts."""
        plan = () if self.plan_at is None else (self.plan_at,)
        return frozenset({self.pointer.name, *plan, *self.hidden})

    def to_json(self) -> dict[str, Any]:
        checkpoint = self.checkpoint if self.plan_at is None else replace(self.checkpoint, plan=None)
        return {
            "format": _FORMAT,
            "token": self.pointer.token,
            "sequence": self.pointer.sequence,
            "checkpoint": checkpoint.to_json(),
            "plan_at": self.plan_at,
            "hidden": list(self.hidden),
            "added": [f.to_json() for f in self.added],
            "quarantine": [s.to_json() for s in self.quarantine],
            "previous": self.previous,
        }


class Records:
    """The records of one stream below ``folder`` (``…/records/``)."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store, self._folder = store, folder
        self._plans: dict[str, ReadPlan | None] = {}

    def put(self, record: Record) -> None:
        """Durable before the commit that names it."""
        body = json.dumps(record.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        self._store.put(self._key(record.pointer.name), body)

    def get(self, pointer: Pointer) -> Record:
        """The record of a commit; ``data`` when it is gone."""
        body = self._body(pointer.name)
        plan_at = body["plan_at"]
        checkpoint = StreamCheckpoint.from_json(body["checkpoint"])
        if plan_at is not None:
            if plan_at not in self._plans:
                held = self._body(plan_at)["checkpoint"]["plan"]
                self._plans = {plan_at: ReadPlan.from_json(held) if held else None}
            checkpoint = replace(checkpoint, plan=self._plans[plan_at])
        return Record(
            pointer=pointer,
            checkpoint=checkpoint,
            plan_at=plan_at,
            hidden=tuple(body["hidden"]),
            added=tuple(TableFile.from_json(f) for f in body["added"]),
            quarantine=tuple(StagedObject.from_json(s) for s in body["quarantine"]),
            previous=body["previous"],
        )

    def added(self, names: Sequence[str]) -> list[TableFile]:
        """The files of these records, in their order."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="records") as pool:
            found = list(pool.map(self._body, names))
        return [TableFile.from_json(f) for body in found for f in body["added"]]

    def names(self) -> list[str]:
        """Of all records that lie there."""
        keys = [info.key for info in self._store.list(self._folder)]
        return [key.removeprefix(self._folder).removesuffix(".json") for key in keys]

    def delete(self, names: Sequence[str]) -> None:
        if names:
            self._store.delete([self._key(name) for name in names])

    def _key(self, name: str) -> str:
        return f"{self._folder}{name}.json"

    def _body(self, name: str) -> dict[str, Any]:
        data = self._store.get(self._key(name))
        if data is None:
            raise SynclineError(
                ErrorKind.DATA,
                f"the ledger's record {self._store.url_of(self._key(name))} is gone",
                hint="restore it; without it the stream must be copied anew (delete the table and its folder below "
                "_syncline)",
                where={"path": self._store.url_of(self._key(name))},
            )
        body: dict[str, Any] = json.loads(data)
        if body.get("format") != _FORMAT:
            raise SynclineError(
                ErrorKind.CONFIG,
                "the ledger was written by a newer version of syncline",
                hint="upgrade syncline here",
            )
        return body
