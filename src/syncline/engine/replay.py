"""Quarantined rows written after all: through the normal path, and exactly once.

    restore -> judge -> stage -> commit rows and their ids in one act -> remove them from the store

The ids are in the ledger from the moment at which the rows are visible until they have gone from the store: whatever is
killed in between, no row is written twice and none is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.checkpoint import Phase, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import target_for
from syncline.quality.gate import Gate, Severity
from syncline.quality.rules import RULES
from syncline.quality.screen import Screen
from syncline.sdk.destination import Destination, ReadsStage
from syncline.sdk.metadata import Normalizer
from syncline.sdk.quarantine import KeepsQuarantine, QuarantineEntry, restored

__all__ = ["Replayed", "kept_entries", "replay"]

#: Keys looked up by one statement.
_LOOKED_UP = 100


@dataclass(kw_only=True)
class Replayed:
    """``written`` rows are visible now; ``aside`` were refused by the destination again, for a reason of their own;
    ``failing`` still break a gate, ``superseded`` have a newer row under their key by now, ``unreadable`` cannot be
    made rows again: these three stay in the store, by id with the reason."""

    written: int = 0
    aside: int = 0
    failing: dict[str, str] = field(default_factory=dict)
    superseded: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "written": self.written,
            "aside": self.aside,
            "failing": self.failing,
            "superseded": self.superseded,
            "unreadable": self.unreadable,
        }


def kept_entries(destination: Destination, connection: str, selected: SelectedStream) -> list[QuarantineEntry]:
    """The rows in the store, without those that have been written since and only wait for their removal."""
    if not isinstance(destination, KeepsQuarantine):
        raise SynclineError(
            ErrorKind.CONFIG,
            "the quarantine of this destination cannot be read by a command",
            hint="look at its table or files of the name _syncline_quarantine yourself",
        )
    entry = destination.committed(connection, selected.name)
    if entry is None:
        return []
    gone = set(entry.checkpoint.quality.get("replayed", ()))
    return [e for e in destination.quarantine(connection, selected.name) if e.id not in gone]


def replay(
    spec: AttemptSpec, selected: SelectedStream, destination: Destination, ids: Sequence[str] | None, *, logged: bool
) -> Replayed:
    """Write these rows (all when None) of a stream that is at rest. Under the connection's lease."""
    assert isinstance(destination, KeepsQuarantine)
    entry = destination.fence(spec.connection, selected.name)
    token, checkpoint = entry.token, entry.checkpoint
    if checkpoint.phase is not Phase.IDLE:
        raise SynclineError(
            ErrorKind.CONFIG,
            "the stream has an unfinished or held back copy, which may bring these rows by itself",
            hint="sync it first (or see: syncline quality show), then replay",
            where={"stream": str(selected.name)},
        )
    checkpoint = _cleared(spec, selected, destination, checkpoint, token, logged=logged)
    found = destination.quarantine(spec.connection, selected.name)
    entries = [e for e in found if (ids is None or e.id in ids) and e.generation == checkpoint.generation]
    outcome = Replayed()
    batches = _restored(selected, entries, outcome)
    batches = _still_newest(spec, selected, destination, checkpoint, token, batches, outcome, logged=logged)
    target = _target(spec, selected, checkpoint, logged=logged)
    batches = _keeping_gates(selected, target, batches, outcome)
    if not batches:
        return outcome
    destination.prepare(target, checkpoint, token)
    own = set(selected.stream.schema.names)
    normalize = Normalizer(
        target.schema,
        [f for f in target.schema.fields if f.name not in own],
        extracted_at=spec.started_at,
        sync_id=spec.sync_id,
        generation=checkpoint.generation,
    )
    writer = destination.writer(target, f"replay-{spec.sync_id}", token)
    try:
        writer.write(normalize(_joined([b for _, b in batches])))
        staged = writer.seal()
    except BaseException:
        writer.abort()
        raise
    written = [e.id for e, _ in batches]
    following = checkpoint.next(
        quality={**checkpoint.quality, "replayed": written},
        schema=target.schema,
    )
    failpoint("commit.before")
    destination.commit(target, [staged], following, token, publish=True)
    failpoint("commit.after")
    _cleared(spec, selected, destination, following, token, logged=logged)
    outcome.written, outcome.aside = staged.rows, staged.quarantined
    return outcome


def _cleared(
    spec: AttemptSpec,
    selected: SelectedStream,
    destination: Destination,
    checkpoint: StreamCheckpoint,
    token: int,
    *,
    logged: bool,
) -> StreamCheckpoint:
    """Rows that the ledger knows to be written leave the store, then the ledger forgets them."""
    assert isinstance(destination, KeepsQuarantine)
    written = checkpoint.quality.get("replayed", ())
    if not written:
        return checkpoint
    destination.forget_quarantined(spec.connection, selected.name, list(written))
    failpoint("replay.forgotten")
    following = checkpoint.next(quality={k: v for k, v in checkpoint.quality.items() if k != "replayed"})
    destination.commit(_target(spec, selected, checkpoint, logged=logged), [], following, token)
    return following


def _target(spec: AttemptSpec, selected: SelectedStream, checkpoint: StreamCheckpoint, *, logged: bool) -> StreamTarget:
    """Into the visible table: by key where rows have one place each, else added."""
    write = WriteMode.MERGE if selected.sync_mode.deduped else WriteMode.APPEND
    made = target_for(
        spec,
        selected,
        write=write,
        generation=checkpoint.generation,
        sync_id=spec.sync_id,
        logged=logged and selected.sync_mode.incremental,
    )
    return replace(made, constants={})


def _restored(
    selected: SelectedStream, entries: Sequence[QuarantineEntry], outcome: Replayed
) -> list[tuple[QuarantineEntry, Batch]]:
    schema = selected.stream.schema.arrow()
    found = []
    for entry in entries:
        if not entry.id or not entry.original:
            outcome.unreadable[entry.id or "(no id)"] = "its own bytes were not kept"
            continue
        try:
            found.append((entry, restored(entry.original, schema)))
        except (ValueError, pa.ArrowException) as error:
            outcome.unreadable[entry.id] = str(error).splitlines()[0]
    return found


def _still_newest(
    spec: AttemptSpec,
    selected: SelectedStream,
    destination: Destination,
    checkpoint: StreamCheckpoint,
    token: int,
    batches: list[tuple[QuarantineEntry, Batch]],
    outcome: Replayed,
    *,
    logged: bool,
) -> list[tuple[QuarantineEntry, Batch]]:
    """Rows by key: one that the destination has by now in a newer version is not put back to an older one."""
    if not selected.sync_mode.deduped or not batches:
        return batches
    if not isinstance(destination, ReadsStage):
        raise SynclineError(
            ErrorKind.CONFIG, "this destination cannot say which of two rows is newer", hint="copy the stream anew"
        )
    newest: dict[tuple[Any, ...], int] = {}
    for place, (entry, _) in enumerate(batches):
        newest[tuple(entry.record.get(k) for k in selected.primary_key)] = place
    target = _target(spec, selected, checkpoint, logged=logged)
    with destination.staged_view(target, [], token) as view:
        passed: set[int] = set()
        for start in range(0, len(batches), _LOOKED_UP):
            asked = [
                f"SELECT {place} FROM {view.published} t WHERE {_newer(selected, target, entry.record)}"
                for place, (entry, _) in list(enumerate(batches))[start : start + _LOOKED_UP]
            ]
            passed |= {int(row[0]) for row in view.rows(" UNION ALL ".join(asked))}
    kept = []
    for place, (entry, batch) in enumerate(batches):
        key = tuple(entry.record.get(k) for k in selected.primary_key)
        if None in key:
            outcome.failing[entry.id] = "its primary key is NULL"
        elif place in passed or newest[key] != place:
            outcome.superseded[entry.id] = "the destination has a newer row under its key"
        else:
            kept.append((entry, batch))
    return kept


def _newer(selected: SelectedStream, target: StreamTarget, record: Mapping[str, str | None]) -> str:
    """Whether a visible row has the key and is newer. Where nothing tells older from newer, being there is enough."""
    tests = [f"t.{_quoted(k)} = {_literal(record.get(k))}" for k in selected.primary_key]
    for column in (selected.cursor_field, "_syncline_lsn", "_ab_cdc_lsn"):
        if column is not None and column in target.schema.names and record.get(column) is not None:
            tests.append(f"t.{_quoted(column)} > {_literal(record[column])}")
            break
    return " AND ".join(tests)


def _keeping_gates(
    selected: SelectedStream,
    target: StreamTarget,
    batches: list[tuple[QuarantineEntry, Batch]],
    outcome: Replayed,
) -> list[tuple[QuarantineEntry, Batch]]:
    gates = [Gate.from_json(g) for g in selected.options.get("gates", ())]
    strict = [
        replace(g, severity=Severity.QUARANTINE)
        for g in gates
        if RULES[g.rule].per_row and g.severity is not Severity.WARN and g.columns[0] in selected.stream.schema.names
    ]
    if not strict or not batches:
        return batches
    screen = Screen(strict, selected.stream.schema)
    kept = []
    for entry, batch in batches:
        broken = screen.look(batch.data, batch.misfits)
        if broken:
            outcome.failing[entry.id] = broken[0].reason
        else:
            kept.append((entry, batch))
    return kept


def _joined(batches: Sequence[Batch]) -> Batch:
    table = pa.Table.from_batches([b.data for b in batches]).combine_chunks()
    misfits = tuple(replace(m, row=row) for row, b in enumerate(batches) for m in b.misfits)
    return Batch(data=table.to_batches()[0], misfits=misfits)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str | None) -> str:
    """As a literal of no type yet: the column that it is compared with gives it one."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
