"""One scenario of change data capture: a source under load, a destination, a command that is disturbed, and judges.

The command is the product's (``syncline sync FILE [--follow]``), from this checkout or from a copy with a planted bug,
or the plain reference of :mod:`tests.faults.cdc_reference`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import psycopg
import yaml

from syncline.testing.oracle.change_log import judge_change_log
from syncline.testing.oracle.commits import CommitJournal
from syncline.testing.oracle.content import DuckDBEnd, End, FilesEnd, PostgresEnd, compare
from syncline.testing.oracle.tables import TABLES, OracleTable, create_tables
from syncline.testing.oracle.watch import Destination, DuckDBDestination, PostgresDestination, Watch
from syncline.testing.oracle.witness import Witness
from syncline.testing.oracle.workload import Workload
from syncline.testing.postgres_server import PostgresServer, start_postgres

ROOT = Path(__file__).resolve().parents[2]
#: A machine that is shared with much else takes so many times longer for everything: SYNCLINE_CDC_PATIENCE=5.
PATIENCE = float(os.environ.get("SYNCLINE_CDC_PATIENCE", "1"))

#: A source that loses no acknowledged commit in a crash, streams early, and finds deadlocks quickly.
SOURCE_SETTINGS: Mapping[str, str | int] = {
    "synchronous_commit": "on",
    "logical_decoding_work_mem": "64kB",
    "deadlock_timeout": "100ms",
    "max_prepared_transactions": 20,
}


_TOO_LATE = (" whether a column was renamed, ", " was added with values that the log does not hold ")


def start_source(**settings: str | int) -> PostgresServer:
    return start_postgres(settings={**SOURCE_SETTINGS, **settings})


class Command(Protocol):
    """How the thing under test is called."""

    def arguments(self, *, follow: bool) -> list[str]: ...

    def environment(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class ReferenceCommand:
    config: Path

    def arguments(self, *, follow: bool) -> list[str]:
        return [sys.executable, "-m", "tests.faults.cdc_reference", str(self.config), *(["--follow"] if follow else [])]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class SynclineCommand:
    """``tree`` is the source directory to run from (a copy with a planted bug), this checkout's by default."""

    project: Path
    home: Path
    tree: Path = ROOT / "src"

    def arguments(self, *, follow: bool) -> list[str]:
        command = [sys.executable, "-m", "syncline", "sync", str(self.project)]
        return [*command, "--follow"] if follow else [*command, "--attempts", "1"]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.tree), "SYNCLINE_HOME": str(self.home)}


@dataclass
class Run:
    """One started command. Its output goes to ``log``."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-6000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def wait(self, seconds: float) -> int | None:
        """The exit code, None while it still runs. ``seconds`` of a machine that is not busy."""
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, seconds: float = 60) -> int:
        """Ask it to end (SIGTERM) and give the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.wait(seconds)
        if code is None:
            self.kill()
            raise AssertionError(f"the command did not end within {seconds} s of SIGTERM:\n{self.output}")
        return code


@dataclass
class Tally:
    """What a suite came to; printed at its end."""

    runs: int = 0
    kills: int = 0
    faults: int = 0
    stops: int = 0
    judged: int = 0
    equal: int = 0
    transactions: int = 0
    looks: int = 0
    confirmations: int = 0

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.kills} killed, {self.faults} other faults, {self.transactions:,} transactions, "
            f"{self.stops} stops with a plan; "
            f"{self.looks:,} looks at the destination, {self.confirmations:,} confirmations judged; "
            f"nothing lost or doubled at {self.equal} of {self.judged} comparisons of both ends"
        )


@dataclass
class Scenario:
    """Made by one of the ``make_`` functions below. Use :meth:`load` for the workload, :meth:`begin` for a command."""

    folder: Path
    source_dsn: str
    end: End
    view: Destination | None
    command: Command
    append: bool
    tables: tuple[OracleTable, ...]
    witness: Witness | None = None
    copied_anew: set[str] = field(default_factory=set)  #: tables that were, after a stop with a plan
    copied_by: int | None = None  #: an LSN at which every first copy had been made
    soft: bool = False
    atomic: bool = True
    logs_keyless: bool = True  #: a table without a key is kept as a log of its changes, also where others are not
    tally: Tally = field(default_factory=Tally)
    findings: list[str] = field(default_factory=list)
    _count: int = 0
    _journal: CommitJournal | None = None
    _watches: list[Watch] = field(default_factory=list)
    _runs: list[Run] = field(default_factory=list)

    def load(self, seed: int, **options: Any) -> Workload:
        """Writers on the source. Loads may follow each other; their commits are in one journal."""
        if self._journal is None:
            self._journal = CommitJournal(self.folder / "commits.jsonl")
        return Workload(self.source_dsn, self._journal, seed=seed, **options)

    def watch(self, **options: Any) -> Watch:
        assert self.view is not None
        watch = Watch(self.source_dsn, self.view, atomic=self.atomic, **options)
        self._watches.append(watch)
        return watch

    def begin(self, *, follow: bool = True, environment: Mapping[str, str] | None = None) -> Run:
        self._count += 1
        self.tally.runs += 1
        log = self.folder / f"run-{self._count}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                self.command.arguments(follow=follow),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, **self.command.environment(), **(environment or {})},
            )
        run = Run(process, log)
        self._runs = [each for each in self._runs if each.alive] + [run]
        return run

    def complete(self, seconds: float = 600, *, environment: Mapping[str, str] | None = None) -> None:
        """Run to the end of the log, undisturbed; it must succeed."""
        run = self.begin(follow=False, environment=environment)
        if not self.ended_well(run, run.wait(seconds)):
            self._copy_anew(run)
            run = self.begin(follow=False, environment=environment)
            assert self.ended_well(run, run.wait(seconds)), run.output
        if self.copied_by is None:
            with psycopg.connect(self.source_dsn) as session:
                row = session.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
            assert row is not None
            self.copied_by = int(row[0])

    def wait_until_follows(self, run: Run, seconds: float = 180) -> None:
        """Until what was committed after now (somebody must write) is at the destination."""
        assert self.view is not None
        with psycopg.connect(self.source_dsn, autocommit=True) as session:
            row = session.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        deadline = time.monotonic() + seconds * PATIENCE
        while (seen := self.view.look()) is None or (seen.lsn or 0) <= int(row[0]):
            assert run.alive, run.output
            assert time.monotonic() < deadline, f"nothing arrives:\n{run.output}"
            time.sleep(0.1)

    def stop(self, run: Run) -> None:
        """Ask it to end; that must be orderly."""
        code = run.stop()
        if code != -signal.SIGTERM:  # asked so early that it had not begun to listen
            self.ended_well(run, code)

    def ended_well(self, run: Run, code: int | None) -> bool:
        """True for success. False when the only failure is that a table's columns were changed so often, and the log
        read so late, that the catalogue does not tell any more what they were: an explicit stop with a plan, as
        promised. Anything else is an error here."""
        if code is None:
            run.kill()
            raise AssertionError(f"not finished in time:\n{run.output}")
        if code == 0:
            return True
        errors = [line for line in run.output.splitlines() if line.startswith("error (")]
        shapeless = tuple(f"error (schema): public.{t.name}: " for t in self.tables if t.changes_shape)
        assert errors, run.output
        late = [each for each in errors if each.startswith(shapeless) and any(why in each for why in _TOO_LATE)]
        assert late == errors, run.output
        return False

    def _copy_anew(self, run: Run) -> None:
        """Do what the stop's plan says."""
        assert isinstance(self.command, SynclineCommand)
        self.tally.stops += 1
        for table in self.tables:
            if table.changes_shape:
                self.copied_anew.add(table.name)
                reset = [sys.executable, "-m", "syncline", "state", "reset", str(self.command.project), "--yes"]
                subprocess.run(
                    [*reset, "--stream", f"public.{table.name}"],
                    cwd=ROOT,
                    env={**os.environ, **self.command.environment()},
                    check=True,
                    capture_output=True,
                )

    def ended(self, watch: Watch) -> None:
        """Take over what a watch saw."""
        watch.stop()
        self.tally.looks += watch.looks
        self.tally.confirmations += watch.confirmations
        self.findings += watch.findings

    def judge(self) -> list[str]:
        """Everything that is wrong now that nobody writes and the last run has ended well."""
        found = list(self.findings)
        if self._journal is not None:
            self.tally.transactions += self._journal.acknowledged
            found += self._journal.against_source(self.source_dsn)
        source = PostgresEnd(self.source_dsn)
        history = self.witness.read() if self.witness is not None else None
        for table in self.tables:
            if self.append and table.name in self.copied_anew:
                continue  # its log has two beginnings
            rows = self.end.rows(table.name)
            if self.append or (self.logs_keyless and not table.key):
                if history is None:
                    raise ValueError("a change log is judged against a witness")
                found += judge_change_log(table, rows, history, source.rows(table.name), copied_by=self.copied_by)
            else:
                if self.soft:
                    rows = [row for row in rows if row["_syncline_deleted_at"] is None]
                found += compare(table.name, source.rows(table.name), rows, table.key)
        self.tally.judged += 1
        self.tally.equal += not found
        return found

    def close(self) -> None:
        """Drop the slots of this source, so that the server keeps no log for them and has room for others."""
        with psycopg.connect(self.source_dsn, autocommit=True) as session:
            session.execute(
                """
                SELECT pg_terminate_backend(active_pid)
                FROM pg_replication_slots
                WHERE database = current_database() AND active
                """
            )
            for _ in range(100):
                left = session.execute(
                    "SELECT slot_name, active FROM pg_replication_slots WHERE database = current_database()"
                ).fetchall()
                for name, active in left:
                    if not active:
                        session.execute("SELECT pg_drop_replication_slot(%s)", (name,))
                if not left:
                    return
                time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._runs:
            if run.alive:
                run.kill()
        for watch in self._watches:
            if watch.is_alive():
                watch.stop()
        if self.view is not None:
            self.view.close()
        if self._journal is not None:
            self._journal.close()
        self.close()

    def lag_is_gone(self, seconds: float = 60) -> bool:
        """Wait until everything that is committed at the source now has been confirmed to its slot."""
        with psycopg.connect(self.source_dsn, autocommit=True) as session:
            row = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            assert row is not None
            deadline = time.monotonic() + seconds * PATIENCE
            while time.monotonic() < deadline:
                done = session.execute(
                    "SELECT bool_and(confirmed_flush_lsn >= %s) FROM pg_replication_slots "
                    "WHERE database = current_database() AND slot_name NOT LIKE 'oracle%%'",
                    row,
                ).fetchone()
                if done is not None and done[0]:
                    return True
                time.sleep(0.1)
        return False


def make_reference(
    folder: Path, source: PostgresServer, destination: PostgresServer, *, append: bool = False, bug: str | None = None
) -> Scenario:
    """The reference between two databases. Its tables keep their columns: it cannot follow changes of them."""
    database = source.create_database()
    from_dsn = source.dsn(database)
    to_dsn = destination.dsn(destination.create_database())
    witness = Witness.create(from_dsn)
    create_tables(from_dsn)
    config = {
        "source": from_dsn,
        "destination": to_dsn,
        "connection": "reference",
        "slot": f"reference_{database}",
        "append": append,
        "bug": bug,
    }
    path = folder / "reference.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return Scenario(
        folder=folder,
        source_dsn=from_dsn,
        end=PostgresEnd(to_dsn),
        view=None if append else PostgresDestination(dsn=to_dsn, connection="reference"),
        command=ReferenceCommand(path),
        append=append,
        tables=tuple(table for table in TABLES if not table.changes_shape),
        witness=witness,
        logs_keyless=False,
    )


def make_syncline(
    folder: Path,
    source: PostgresServer,
    kind: str,
    *,
    destination: PostgresServer | None = None,
    append: bool = False,
    deletes: str = "hard",
    rows: int = 500,
    through: tuple[int | None, int | None] = (None, None),
    method: Mapping[str, Any] | None = None,
    tree: Path = ROOT / "src",
    source_options: Mapping[str, Any] | None = None,
    tables: Sequence[OracleTable] = TABLES,
    prepare: Callable[[str], None] | None = None,
) -> Scenario:
    """The product: a source database, a destination of ``kind`` (postgres, duckdb, local). ``through`` are proxy ports
    in front of source and destination, ``method`` settings of ``replication_method``. A table without a key is always
    appended. ``prepare`` makes other tables than the oracle's, which then has no witness."""
    database = source.create_database()
    from_dsn = source.dsn(database)
    witness = None
    if prepare is not None:
        prepare(from_dsn)
    else:
        witness = Witness.create(from_dsn)
        create_tables(from_dsn, rows=rows)
    name = f"{kind}-{'append' if append else deletes}"
    end: End
    view: Destination | None = None
    alive = "_syncline_deleted_at IS NULL" if deletes == "soft" else "true"
    config: dict[str, Any]
    if kind == "postgres":
        assert destination is not None
        target = destination.create_database()
        config = _address(destination, target, through[1])
        end = PostgresEnd(destination.dsn(target))
        view = PostgresDestination(dsn=destination.dsn(target), connection=name, alive=alive)
    elif kind == "duckdb":
        path = folder / "warehouse.duckdb"
        config = {"path": str(path)}
        end = DuckDBEnd(path)
        view = DuckDBDestination(path=path, connection=name, alive=alive)
    else:
        config = {"path": str(folder / "lake")}
        end = FilesEnd(folder / "lake")
    streams = [
        {
            "name": table.name,
            "mode": "incremental_append" if append or not table.key else "incremental_deduped_history",
        }
        for table in tables
    ]
    project = {
        "name": name,
        "source": {
            "type": "postgres",
            "config": {
                **_address(source, database, through[0]),
                "replication_method": {"method": "CDC", **(method or {})},
                "partition_bytes": 1 << 18,
                **(source_options or {}),
            },
        },
        "destination": {"type": kind, "config": config},
        "sync": {"streams": streams, "deletes": deletes, "concurrency": 2},
    }
    path = folder / "project.yaml"
    path.write_text(yaml.safe_dump(project), encoding="utf-8")
    return Scenario(
        folder=folder,
        source_dsn=from_dsn,
        end=end,
        view=None if append else view,
        command=SynclineCommand(path, folder / "home", tree),
        append=append,
        tables=tuple(tables),
        witness=witness,
        soft=deletes == "soft",
    )


def _address(server: PostgresServer, database: str, port: int | None) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": port or server.port,
        "database": database,
        "username": server.user,
        "password": server.password,
    }
