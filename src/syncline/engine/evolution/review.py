"""A run's first look at its source: what changed since the last one, what the policy makes of it, and who must be told.

Nothing is read or written before; at the end of the attempt the destination's ledger remembers what was seen. Streams
that a log continues are told of their columns by the log itself, in its order; here only what the log does not say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import Catalog, SelectedStream, StreamName, SyncMode
from syncline.engine.events import SchemaChanged
from syncline.engine.evolution.differences import ColumnChange, column_changes
from syncline.engine.evolution.policy import Contract, SchemaPolicy, SchemaUpdates
from syncline.engine.evolution.seen import SeenSource, SeenStream, read_seen, write_seen
from syncline.engine.selection import StreamChoice, select_streams
from syncline.engine.spec import AttemptSpec
from syncline.sdk.destination import Destination
from syncline.sdk.mapping import map_selected

__all__ = ["SchemaReview"]


#: What a log tells by itself, in its order.
_TOLD_BY_LOGS = ("added", "renamed", "widened")


@dataclass
class _Judged:
    """What is made of one stream: how it is read, and what is remembered of it."""

    selected: SelectedStream
    seen: SeenStream
    error: SynclineError | None = None


class SchemaReview:
    """Made once per attempt. ``selection`` is what the attempt takes, ``refused`` the streams that must not start and
    why, by name; ``vanished`` those that are gone; ``added`` for each stream the columns that are new and taken (not
    those that a mapping makes of them); ``changes`` is to be told."""

    def __init__(self, spec: AttemptSpec, catalog: Catalog, destination: Destination, *, logged: bool) -> None:
        self._spec, self._destination, self._logged = spec, destination, logged
        self._policy: SchemaPolicy = spec.evolution
        self._before = read_seen(destination, spec.connection)
        self._now: dict[str, SeenStream] = {}
        self.changes: list[SchemaChanged] = []
        self.refused: dict[str, SynclineError] = {}
        self.vanished: dict[StreamName, SynclineError] = {}
        self.added: dict[StreamName, list[str]] = {}
        self.selection: list[SelectedStream] = []
        self._names = frozenset(str(s.name) for s in catalog.streams)
        left_out = self._new_streams(catalog)
        choices = self._present(catalog)
        offered = Catalog(streams=tuple(s for s in catalog.streams if str(s.name) not in left_out))
        if choices is not None and not choices:
            return  # all that was chosen is gone
        for selected in select_streams(offered, choices, spec.default, destination.traits):
            judged = self._judge(selected)
            self.selection.append(judged.selected)
            self._now[str(selected.source_name)] = judged.seen
            if judged.error is not None:
                self.refused[str(judged.selected.name)] = judged.error

    def ensure_wanted(self) -> None:
        """Raises ``schema`` when the connection stops at any change."""
        if self._policy.updates is not SchemaUpdates.DISABLE_CONNECTION or not self.changes:
            return
        told = "; ".join(f"{c.stream}: {c.text}" for c in self.changes[:5])
        more = f"; and {len(self.changes) - 5} more" if len(self.changes) > 5 else ""
        raise SynclineError(
            ErrorKind.SCHEMA,
            f"the source has changed, and the connection is to stop then (disable_connection): {told}{more}",
            hint="look at it, then accept it: syncline changes FILE --accept",
            where={"policy": self._policy.updates.value},
        )

    def remember(self) -> None:
        """Write down what was seen, when that is news."""
        seen = self.seen()
        if self._before is None or seen.to_json() != self._before.to_json():
            write_seen(self._spec, self._destination, seen)
            self._before = seen

    def accept(self, streams: Sequence[StreamName] | None = None) -> list[str]:
        """A person has looked at the changes of these streams (None: of all) and wants to go on with them. Gives the
        streams for which that is news."""
        wanted = {str(name) for name in streams} if streams is not None else None
        present = {
            name: seen
            for name, seen in self._now.items()
            if wanted is None or name in wanted or any(str(s.name) in wanted for s in self.selection if _is(s, name))
        }
        before = {} if self._before is None else self._before.streams
        news = [name for name, seen in present.items() if name not in before or before[name] != seen]
        left = self.seen()
        if wanted is None:
            write_seen(self._spec, self._destination, SeenSource(names=self._names, streams=self._now))
        elif news:
            streams_seen = {**left.streams, **present}
            write_seen(self._spec, self._destination, SeenSource(names=left.names, streams=streams_seen))
        return news

    def seen(self) -> SeenSource:
        """What the ledger is to say after this look."""
        former = {} if self._before is None else self._before.streams
        # A stream that must not start is known as it was: the next run stops at the same place.
        held = {
            name: former[name]
            for name in self._now
            if name in former and any(str(s.name) in self.refused for s in self.selection if _is(s, name))
        }
        gone = {str(name): former[str(name)] for name in self.vanished if str(name) in former}
        return SeenSource(names=self._names | set(gone), streams={**self._now, **gone, **held})

    def mode_of(self, name: StreamName) -> SyncMode:
        """The mode of a stream that is gone, as far as its choice says."""
        wish = next((c.mode for c in self._spec.choices or () if c.name in (str(name), name.name)), None)
        wish = wish or self._spec.default.mode or "full_refresh"
        if wish in set(SyncMode):
            return SyncMode(wish)
        return SyncMode.INCREMENTAL_APPEND if wish == "incremental" else SyncMode.FULL_REFRESH_OVERWRITE

    # -- streams ---------------------------------------------------------------------------------------------------

    def _new_streams(self, catalog: Catalog) -> set[str]:
        """New ones are told; those to be left out are given back."""
        if self._before is None:
            return set()
        takes = self._policy.updates is SchemaUpdates.PROPAGATE_FULLY or self._spec.choices is not None
        new = [s for s in catalog.streams if str(s.name) not in self._before.names]
        for stream in new:
            self._tell(str(stream.name), "stream_added", None, str(stream.name))
        unknown = {
            str(s.name)
            for s in catalog.streams
            if self._spec.choices is None and str(s.name) not in self._before.streams
        }
        return set() if takes else unknown

    def _present(self, catalog: Catalog) -> tuple[StreamChoice, ...] | None:
        """The choices whose streams are there. One that is gone since the last run stops alone."""
        names = {str(s.name) for s in catalog.streams} | {s.name.name for s in catalog.streams}
        known = {} if self._before is None else self._before.streams
        chosen: list[StreamChoice] = []
        for choice in self._spec.choices or ():
            former = [name for name in known if choice.name in (name, name.rpartition(".")[2])]
            if choice.name in names or not former:
                chosen.append(choice)
                continue
            self._vanish(former[0], listed=True)
        if self._spec.choices is None:
            for name in known:
                if name not in names:
                    self._vanish(name, listed=False)
            return None
        return tuple(chosen)

    def _vanish(self, written: str, *, listed: bool) -> None:
        namespace, dot, name = written.rpartition(".")
        stream = StreamName(namespace=namespace if dot else None, name=name)
        self._tell(written, "stream_vanished", written, None)
        if listed and self._policy.updates is not SchemaUpdates.PROPAGATE_FULLY:
            self.vanished[stream] = SynclineError(
                ErrorKind.SCHEMA,
                f"the source has no stream {written} any more",
                hint="what was copied of it stays; take it out of the connection, or give it back its name",
                where={"stream": written},
            )

    # -- columns ---------------------------------------------------------------------------------------------------

    def _judge(self, selected: SelectedStream) -> _Judged:
        source = selected.origin or selected
        fields, key = source.stream.schema.fields, source.primary_key
        fresh = _Judged(selected=selected, seen=SeenStream(fields=fields, key=key))
        before = None if self._before is None else self._before.streams.get(str(source.name))
        if before is None:
            return fresh
        entry = self._destination.committed(self._spec.connection, selected.name)
        checkpoint = entry.checkpoint if entry is not None else None
        if checkpoint is None or checkpoint.schema is None:
            return fresh  # the destination knows nothing of it yet
        changes = column_changes(before.fields, fields)
        flows = self._logged and selected.sync_mode.incremental
        judge = _StreamJudge(self._policy, source, before, checkpoint, flows=flows)
        for change in changes:
            if not flows or change.kind not in _TOLD_BY_LOGS:
                one, other = change.words()
                self._tell(str(selected.name), change.kind, one, other)
            judge.take(change)
        if before.key != key:
            self._tell(str(selected.name), "key", ", ".join(before.key) or "none", ", ".join(key) or "none")
            judge.take_key(key)
        judged = judge.verdict(selected)
        names = judged.selected.stream.schema.names
        self.added[judged.selected.name] = [c.column for c in changes if c.kind == "added" and c.column in names]
        return judged

    def _tell(self, stream: str, change: str, before: str | None, after: str | None) -> None:
        self.changes.append(SchemaChanged(stream=stream, change=change, before=before, after=after))


class _StreamJudge:
    """Goes through the changes of one stream, by the contract of each column."""

    def __init__(
        self,
        policy: SchemaPolicy,
        source: SelectedStream,
        before: SeenStream,
        checkpoint: StreamCheckpoint,
        *,
        flows: bool,
    ) -> None:
        self._policy, self._source, self._flows = policy, source, flows
        self._goes_on = checkpoint.position is not None
        now = {f.name for f in source.stream.schema.fields}
        # What was held stays held as long as the contract says so.
        self._left = {n for n in before.left if n in now and self._contract(n) is not Contract.EVOLVE}
        self._named = {
            new: old for new, old in before.named.items() if new in now and self._contract(old) is not Contract.EVOLVE
        }
        self._held = {n: f for n, f in before.held.items() if n in now and self._contract(n) is not Contract.EVOLVE}
        self._error: SynclineError | None = None

    def take(self, change: ColumnChange) -> None:
        known = change.before or change.after
        assert known is not None
        contract = self._contract(known.name)
        if self._flows:
            # The log tells it in its order, and stops there if need be; a new column must not get into a copy either.
            if change.kind == "added" and contract in (Contract.FREEZE, Contract.QUARANTINE):
                self._left.add(change.column)
            return
        if contract is Contract.FAIL:
            self._refuse(f"column {_told(change)}, and its contract is to fail", "look at it")
        elif change.kind == "added" and contract is not Contract.EVOLVE:
            self._left.add(change.column)
        elif change.kind == "renamed" and contract is not Contract.EVOLVE:
            assert change.before is not None
            self._named[change.column] = self._named.get(change.before.name, change.before.name)
        elif change.kind in ("widened", "narrowed", "retyped"):
            self._take_type(change, contract)

    def _take_type(self, change: ColumnChange, contract: Contract) -> None:
        assert change.before is not None
        assert change.after is not None
        if contract is not Contract.EVOLVE:
            self._held.setdefault(change.column, change.before)
        elif change.kind == "narrowed" and self._goes_on:
            self._refuse(
                f"column {_told(change)}, which may have changed values that are not read again",
                "look at the values at the source: the destination keeps the wider column",
            )

    def take_key(self, key: Sequence[str]) -> None:
        if self._source.sync_mode.deduped and self._goes_on and not self._flows:
            self._refuse(
                f"the key is {', '.join(key) or 'gone'} now, and rows were merged by another",
                "copy the stream anew: syncline state reset FILE --stream " + str(self._source.name),
            )

    def verdict(self, selected: SelectedStream) -> _Judged:
        fields = self._source.stream.schema.fields
        seen = SeenStream(
            fields=fields,
            key=self._source.primary_key,
            left=frozenset(self._left),
            named=dict(self._named),
            held=dict(self._held),
        )
        if self._error is not None:
            return _Judged(selected=selected, seen=seen, error=self._error)
        return _Judged(selected=self._adjusted(selected, fields), seen=seen)

    def _adjusted(self, selected: SelectedStream, fields: Sequence[Field]) -> SelectedStream:
        """The stream read so that the destination sees the columns that it keeps."""
        key = {*self._source.primary_key, self._source.cursor_field}
        aside = [n for n in sorted(self._left - key) if self._contract(n) is Contract.QUARANTINE and not self._flows]
        out = self._left - key - set(aside)
        source = replace(
            self._source,
            stream=replace(
                self._source.stream,
                schema=replace(self._source.stream.schema, fields=tuple(f for f in fields if f.name not in out)),
            ),
            origin=None,
        )
        steps: list[Mapping[str, Any]] = []
        if aside:
            steps.append({"absent": aside})
        for name, kept in self._held.items():
            fail = self._contract(name) is not Contract.QUARANTINE
            steps.append({"hold": {name: kept.to_json()}, "misfits": "fail" if fail else "quarantine"})
        if self._named:
            steps.append({"rename": dict(self._named)})
        if not steps and not out:
            return selected
        steps.extend(source.stream.mapping)
        return map_selected(replace(source, stream=replace(source.stream, mapping=tuple(steps))))

    def _contract(self, column: str) -> Contract:
        return self._policy.contract(self._source.name, column)

    def _refuse(self, what: str, advice: str) -> None:
        name = self._source.name
        self._error = self._error or SynclineError(
            ErrorKind.SCHEMA,
            what,
            hint=f"{advice}; then accept it: syncline changes FILE --accept --stream {name}"
            if "reset" not in advice
            else advice,
            where={"stream": str(name)},
        )


def _is(selected: SelectedStream, written: str) -> bool:
    return str(selected.source_name) == written


def _told(change: ColumnChange) -> str:
    before, after = change.words()
    if before is None or after is None:
        return f"{before or after} was {change.kind}"
    return f"{before} became {after}"
