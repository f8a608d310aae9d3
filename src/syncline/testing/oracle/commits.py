"""The journal of the writers: which transactions were begun, and which the source said were committed.

It lies outside the database, so that a commit which the *source* lost in a crash is told from one that was lost on the
way. Every transaction of a writer also adds a row to the table ``acts``, by which it is found at either end.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psycopg

__all__ = ["Act", "CommitJournal"]


@dataclass(frozen=True, kw_only=True, order=True)
class Act:
    """One transaction: the ``number``-th of a writer."""

    writer: int
    number: int


class CommitJournal:
    """Written by all writers' threads, one JSON line for each step: ``begun``, then ``acknowledged`` (the source said
    that it is committed), ``aborted``, or ``unknown`` (the connection was lost while it committed)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._states: dict[Act, str] = {}
        self.kinds: Counter[str] = Counter()

    def note(self, act: Act, kind: str, state: str) -> None:
        with self._lock:
            self._states[act] = state
            if state == "acknowledged":
                self.kinds[kind] += 1
            line = {"writer": act.writer, "number": act.number, "kind": kind, "state": state}
            self._file.write(json.dumps(line) + "\n")

    def with_state(self, state: str) -> set[Act]:
        with self._lock:
            return {act for act, present in self._states.items() if present == state}

    @property
    def acknowledged(self) -> int:
        return sum(self.kinds.values())

    def against_source(self, dsn: str) -> list[str]:
        """What the source itself did wrong, as sentences: commits that it acknowledged and lost, transactions that it
        kept although they were rolled back. Call it when no writer runs."""
        with psycopg.connect(dsn) as connection:
            rows = connection.execute("SELECT writer, number FROM acts").fetchall()
        there = {Act(writer=writer, number=number) for writer, number in rows}
        lost = self.with_state("acknowledged") - there
        revived = there & self.with_state("aborted")
        unheard = there - self.with_state("acknowledged") - self.with_state("unknown") - revived
        return [
            f"the source {what}: {sorted(acts)[:5]} … {len(acts)} in all"
            for what, acts in (
                ("lost commits that it had acknowledged", lost),
                ("kept transactions that were rolled back", revived),
                ("has commits that no writer asked for", unheard),
            )
            if acts
        ]

    def close(self) -> None:
        self._file.close()
