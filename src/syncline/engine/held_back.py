"""A copy or increment that the gates have held back: judged again where it lies, or published all the same.

The source is not read. What a person mends meanwhile is either the gates or the staged rows; both count here, for the
rows are looked through anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syncline.core.checkpoint import Staged
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import WriteMode
from syncline.engine.audit import Verdict
from syncline.engine.events import Log
from syncline.engine.stream_run import StreamRun
from syncline.quality.gate import Gate, Severity
from syncline.quality.rules import RULES, gate_error
from syncline.quality.screen import Screen, screened
from syncline.sdk.destination import ReadsStage

__all__ = ["HeldBackRun"]


class HeldBackRun(StreamRun):
    """Used once: :meth:`replay` or :meth:`publish`. Takes the stream over like any other attempt."""

    def replay(self) -> None:
        """Judge the staged rows by the gates as they are now, and publish them when they pass. Raises ``data`` when
        they do not: then nothing has changed but the reasons."""
        self._audit.ensure_possible(self._aim(WriteMode.APPEND, generation=0, sync_id="").schema)
        held, then = self._take_up()
        assert self._target is not None
        gates = [_strict(g) for g in self._audit.gates]
        verdict = self._audit.verdict(
            self._target, self._checkpoint, held, self._token, gates=gates, note=self._counted_anew(held)
        )
        failpoint("audit.judged")
        if verdict.error is not None:
            self._hold_back(held, verdict)
            raise verdict.error
        self._publish(held, verdict, then)

    def publish(self) -> None:
        """Publish the staged rows though they break gates: somebody has looked at them and wants them."""
        held, then = self._take_up()
        reason = self._checkpoint.quality["blocked"]["reason"]
        self._emit(Log(level="WARN", stream=self.name, message=f"published all the same; what was {reason}"))
        self._publish(held, Verdict(results=()), then)

    def _take_up(self) -> tuple[list[Staged], Mapping[str, Any] | None]:
        entry = self._destination.fence(self._spec.connection, self.selected.name)
        self._token, known = entry.token, entry.checkpoint
        blocked = known.quality.get("blocked")
        if blocked and blocked.get("log"):
            raise SynclineError(
                ErrorKind.CONFIG,
                "changes of a log are held back, which have no stage to be published from",
                hint=f"mend the rows at the source, or the gates, then copy the stream anew: syncline state reset FILE "
                f"--stream {self.name}",
                where={"stream": self.name},
            )
        if not blocked or known.plan is None or known.write is None or known.schema is None:
            raise SynclineError(
                ErrorKind.CONFIG,
                "nothing of the stream is held back",
                hint="see: syncline quality show",
                where={"stream": self.name},
            )
        self._checkpoint, self._plan = known, known.plan
        lsn = known.plan.end.get("lsn") if self.logged else None
        target = self._aim(known.write, generation=known.generation, sync_id=known.sync_id, lsn=lsn)
        self._target = replace(target, schema=known.schema)
        recovered = self._destination.prepare(self._target, known, self._token)
        missing = {p.id for p in known.plan.partitions} - known.done
        held = [s for s in recovered if s.partition in missing]
        if lost := len(missing) - len(held):
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"{lost} of {len(missing)} staged parts of what was held back are gone",
                hint="sync again: it is read anew",
                where={"stream": self.name},
            )
        then: Mapping[str, Any] | None = dict(known.plan.end) if self.selected.sync_mode.incremental else None
        return held, blocked.get("position", then)

    def _counted_anew(self, held: list[Staged]) -> dict[str, Any]:
        """The staged rows may have been mended, and the gates too: what was counted when they came no longer counts."""
        assert self._target is not None
        gates = screened(self._audit.gates)
        if not gates:
            return {}
        if not isinstance(self._destination, ReadsStage) or self._destination.unreadable_stage(self._target.options):
            known = self._checkpoint.quality
            if known.get("gates") == self._audit.fingerprint:
                return dict(known.get("note", {}))
            raise gate_error(
                "the gates have changed, and this destination cannot look through staged rows again",
                hint="sync again: it is read anew",
            )
        screen = Screen(gates, self._target.schema)
        with self._destination.staged_view(self._target, held, self._token) as view:
            there = set(view.columns())
            fields = [f for f in self._target.schema.fields if f.name in there]
            wanted = {c for g in gates for c in g.columns}
            screen = Screen(gates, replace(self._target.schema, fields=tuple(f for f in fields if f.name in wanted)))
            for batch in view.batches([f for f in fields if f.name in wanted]):
                screen.look(batch)
        return screen.note()


def _strict(gate: Gate) -> Gate:
    """Rows that are staged can no longer be set aside: they either keep the gate or hold everything back."""
    if gate.severity is Severity.QUARANTINE and RULES[gate.rule].per_row:
        return replace(gate, severity=Severity.BLOCK)
    return gate
