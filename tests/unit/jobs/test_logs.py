"""Journals read as they grow, and logs that can be searched as the guides tell people to."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.events import Event, Log, PartitionCommitted, Progress, StreamFinished, StreamPlanned
from syncline.jobs.journal import Journal, JournalTail, event_of, read_journal
from syncline.jobs.log_lines import AttemptLog, LogLine, line_of
from syncline.jobs.retention import Retention


def planned(stream: str = "public.t") -> StreamPlanned:
    return StreamPlanned(
        stream=stream, write="replace", partitions=3, done=0, resumed=False, estimated_rows=9, estimated_bytes=9
    )


def failed(message: str) -> StreamFinished:
    error = SynclineError(ErrorKind.TRANSIENT, message, hint="look at the network")
    return StreamFinished(
        stream="public.t",
        status="failed",
        rows_read=1,
        rows_written=0,
        rows_quarantined=0,
        bytes_read=1,
        seconds=1.0,
        error=error.to_json(),
    )


def test_a_journal_is_read_once_line_by_line_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    tail = JournalTail(path)
    assert tail.read() == []
    journal = Journal(path)
    journal.emit(planned("a"))
    first = tail.read()
    assert [event_of(line) for _, line in first] == [planned("a").__class__(**vars(event_of(first[0][1])))]
    assert tail.read() == []
    journal.emit(planned("b"))
    journal.write_result({"status": "succeeded"})
    second = tail.read()
    assert [line["event"] for _, line in second] == ["StreamPlanned", "Result"]
    assert second[0][0] == path.read_bytes().index(b"\n") + 1
    # Another reader goes on at an offset.
    assert [line["event"] for _, line in JournalTail(path, second[1][0]).read()] == ["Result"]
    journal.close()


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event":"A"}\n{"event":')
    tail = JournalTail(path)
    assert [line for _, line in tail.read()] == [{"event": "A"}]
    assert tail.read() == []
    with path.open("ab") as file:
        file.write(b'"B"}\n')
    assert [line for _, line in tail.read()] == [{"event": "B"}]


def test_a_torn_line_costs_itself_and_nothing_behind_it(tmp_path: Path) -> None:
    """A full disk took half of a line; the journal went on when there was room again. The watch over all attempts
    reads here."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event":"A"}\n{"event":"Stre\n[1]\n{"event":5}\n\xff\xfe\n{"event":"B"}\n')
    tail = JournalTail(path)
    assert [line for _, line in tail.read()] == [{"event": "A"}, {"event": "B"}]
    assert tail.offset == path.stat().st_size
    assert [line["event"] for line in read_journal(path)] == ["A", "B"]


def test_a_log_is_followed_as_a_journal_is(tmp_path: Path) -> None:
    path = write(tmp_path, planned("a"), failed("the server did not answer"))
    with path.open("ab") as file:
        file.write(b'{"torn\n')
    tail = JournalTail(path, required="message")
    assert len(tail.read()) == 2
    assert tail.offset == path.stat().st_size


def test_a_long_journal_is_read_in_chunks(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [json.dumps({"event": "X", "n": n, "pad": "x" * (3_000_000 if n == 5 else 100)}) for n in range(20_000)]
    path.write_text("\n".join(lines) + "\n")
    tail = JournalTail(path)
    seen = []
    rounds = 0
    while batch := tail.read():
        rounds += 1
        seen += [line["n"] for _, line in batch]
    assert seen == list(range(20_000))
    assert rounds > 3
    assert tail.offset == path.stat().st_size


def test_events_of_another_version_and_other_names_are_left_out() -> None:
    assert event_of({"event": "Result", "result": {}}) is None
    assert event_of({"event": "SomethingNew", "at": "2026"}) is None
    assert event_of({"event": "dataclass"}) is None
    # A field more than we know, and one less than we need.
    event = planned("a")
    assert event_of({**event.to_json(), "added_later": 1}) == event
    assert event_of({"event": "StreamPlanned", "at": "2026"}) is None


def write(tmp_path: Path, *events: Event, max_bytes: int = 1 << 20) -> Path:
    path = tmp_path / "attempt.log"
    log = AttemptLog(path, max_bytes)
    for event in events:
        line = line_of(event, 7, 1)
        if line is not None:
            log.write(line)
    log.close()
    return path


def test_the_two_searches_of_the_guide_find_what_they_look_for(tmp_path: Path) -> None:
    """``grep "ERROR" … | grep -i "timeout"`` and ``grep "WARN" … | grep -i "validation"``."""
    path = write(
        tmp_path,
        planned(),
        failed("the server did not answer: connection timed out"),
        failed("password authentication failed"),
        PartitionCommitted(stream="public.t", partition="0001", rows=10, quarantined=2, sequence=4),
        PartitionCommitted(stream="public.t", partition="0002", rows=10, quarantined=0, sequence=5),
    )

    def grep(level: str, word: str) -> list[str]:
        command = f'grep "{level}" {path} | grep -i "{word}"'
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout.splitlines()

    (timeout,) = grep("ERROR", "timeout")
    assert json.loads(timeout)["stream"] == "public.t"
    assert json.loads(timeout)["kind"] == "transient"
    (validation,) = grep("WARN", "validation")
    assert "2 rows" in json.loads(validation)["message"]
    # The same words stand in what the API and the command print.
    lines = [LogLine.from_json(json.loads(raw)) for raw in path.read_text().splitlines()]
    texts = [line.text() for line in lines]
    assert len([t for t in texts if "ERROR" in t and "timeout" in t.lower()]) == 1
    assert len([t for t in texts if "WARN" in t and "validation" in t.lower()]) == 1


def test_an_errors_kind_is_a_field_also_of_a_plain_line() -> None:
    error = SynclineError(ErrorKind.UNREACHABLE, "no connection could be made: timeout")
    line = line_of(Log(level="ERROR", message=str(error)), 1, 1)
    assert line is not None
    assert (line.kind, line.about) == ("unreachable", "timeout")


def test_progress_is_not_logged() -> None:
    assert line_of(Progress(stream="t", partition="1", rows=1, bytes=1), 1, 1) is None


def test_a_log_stops_at_its_size_but_keeps_errors_longer(tmp_path: Path) -> None:
    info = [Log(level="INFO", message="x" * 100) for _ in range(200)]
    errors = [Log(level="ERROR", message="y" * 100) for _ in range(200)]
    path = write(tmp_path, *info, *errors, max_bytes=10_000)
    levels = [json.loads(line)["level"] for line in path.read_text().splitlines()]
    assert path.stat().st_size < 20_500
    assert levels.count("INFO") < 80
    assert levels.count("ERROR") > 20
    assert "log is full" in path.read_text().splitlines()[-1]


def folder(home: Path, name: str, size: int, age_days: float) -> Path:
    import os
    import time

    path = home / "jobs" / name / "1"
    path.mkdir(parents=True)
    (path / "attempt.log").write_bytes(b"x" * size)
    then = time.time() - age_days * 86400
    os.utime(path / "attempt.log", (then, then))
    return path.parent


def test_old_logs_go_then_the_oldest_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    ancient = folder(tmp_path, "1-a", 10, 40)
    older = folder(tmp_path, "2-a", 600, 3)
    old = folder(tmp_path, "3-a", 600, 2)
    running = folder(tmp_path, "4-a", 600, 50)
    young = folder(tmp_path, "5-a", 300, 0)
    gone = Retention(tmp_path, log_days=30, log_bytes=1600, job_days=10).prune_folders({running})
    assert gone == [ancient, older]
    assert [p.exists() for p in (ancient, older, old, running, young)] == [False, False, True, True, True]
