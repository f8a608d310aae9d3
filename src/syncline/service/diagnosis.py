"""Use case: from a run that failed to its cause and to what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.journal import read_journal
from syncline.service.causes import Diagnosis, diagnose
from syncline.service.project import Connection
from syncline.settings import Settings

__all__ = ["RunReport", "of_last_run"]


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """One run, its error and what that points to. ``status``: succeeded | failed | unfinished."""

    connection: str
    run: str
    status: str
    error: SynclineError | None
    diagnoses: tuple[Diagnosis, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "connection": self.connection,
            "run": self.run,
            "status": self.status,
            "error": self.error.to_json() if self.error else None,
            "diagnoses": [each.to_json() for each in self.diagnoses],
        }


def of_last_run(connection: Connection, settings: Settings) -> RunReport:
    """The connection's newest run on this machine, from its journals. Raises ``config`` when there is none."""
    folder = settings.runs(connection.folder_name)
    runs = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []
    if not runs:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"connection {connection.label!r} was never run on this machine",
            hint="run `syncline sync` first; for a job of a server give its number",
        )
    return _report(connection.label, runs[-1])


def _report(connection: str, run: Path) -> RunReport:
    error: SynclineError | None = None
    status, log = "unfinished", []
    journals = sorted(run.glob("attempt-*.jsonl"), key=lambda path: int(path.stem.split("-")[1]))
    for journal in journals:
        for line in read_journal(journal):
            if line["event"] == "Log":
                log.append(f"{line['level']} {line['message']}")
            elif line["event"] == "Result":
                result = line["result"]
                status = result["status"]
                failed = result["error"] or next((s["error"] for s in result["streams"] if s.get("error")), None)
                error = SynclineError.from_json(failed) if failed else None
    if status == "unfinished":
        error = SynclineError(
            ErrorKind.TRANSIENT,
            "the run ended without saying how: its process was killed (signal SIGKILL) or still runs",
            hint="run again: it goes on where it was",
        )
    found = () if status == "succeeded" else tuple(diagnose(error, log))
    return RunReport(connection=connection, run=run.name, status=status, error=error, diagnoses=found)
