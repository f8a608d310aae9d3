"""Only the holder of the newest token writes; everybody else learns it before anything of theirs is durable."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.integration.postgres_destination.harness import Run, destination, orders, target

from syncline.core.checkpoint import Staged
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import WriteMode

MODES: list[dict[str, Any]] = [
    {"write": WriteMode.REPLACE},
    {"write": WriteMode.APPEND},
    {"write": WriteMode.MERGE, "primary_key": ("id",)},
]


def ids(db):
    return [r[0] for r in db.execute("SELECT id FROM orders ORDER BY id").fetchall()]


@pytest.mark.parametrize("mode", MODES)
def test_zombie_is_refused_at_every_step(dsn, db, mode):
    parts = {"a": [orders((1,))], "b": [orders((2,))]}
    aim = target(**mode)
    with destination(dsn) as old, destination(dsn) as new:
        zombie = Run(old, aim, parts).start()
        sealed = zombie.lay("a")
        writing = old.writer(aim, "b", zombie.token)
        writing.write(parts["b"][0])
        current = Run(new, aim, parts).start()
        assert current.token == zombie.token + 1
        for step in (
            writing.seal,
            lambda: zombie.commit(sealed),
            zombie.finish,
            lambda: old.writer(aim, "b", zombie.token),
            lambda: old.prepare(aim, zombie.checkpoint, zombie.token),
        ):
            with pytest.raises(SynclineError) as caught:
                step()
            assert caught.value.kind in (ErrorKind.CONFLICT, ErrorKind.TRANSIENT)
        writing.abort()
        for staged in current.recovered:
            current.commit(staged)
        for part in parts:
            if part not in current.checkpoint.done:
                current.commit(current.lay(part))
        current.finish()
    assert ids(db) == [1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_stale_sequence_is_refused(dsn, db, mode):
    with destination(dsn) as made:
        run = Run(made, target(**mode), {"a": [orders((1,))]}).start()
        before = run.checkpoint
        staged = run.lay("a")
        run.commit(staged)
        run.checkpoint = before
        with pytest.raises(SynclineError) as caught:
            run.commit(staged)
        assert caught.value.kind is ErrorKind.CONFLICT
        assert "sequence" in caught.value.message


def test_paused_writer_does_not_hold_up_the_next_attempt(dsn, db):
    """A session that neither works nor goes away is ended by the fence, so that its locks do not stop the swap."""
    with destination(dsn) as old, destination(dsn) as new:
        aim = target()
        zombie = Run(old, aim, {"a": [orders((1,))]}).start()
        writing = old.writer(aim, "a", zombie.token)
        writing.write(orders((7, "half")))
        fresh = Run(new, target(generation=2), {"a": [orders((1, "whole"))]}, "plan2")
        fresh.all()
        with pytest.raises(SynclineError):
            writing.seal()
        writing.abort()
    assert ids(db) == [1]
    assert db.execute(r"SELECT relname FROM pg_class WHERE relname ~ '^_syncline_g[0-9]'").fetchall() == []


def test_commit_that_hangs_is_ended_by_the_next_attempt(dsn, db, postgres_server, postgres_db):
    with destination(dsn) as made, destination(dsn) as new:
        aim = target(write=WriteMode.APPEND)
        run = Run(made, aim, {"a": [orders((1,))]}).start()
        staged = run.lay("a")
        with postgres_server.connect(postgres_db) as blocker:
            blocker.execute("BEGIN")
            blocker.execute("LOCK TABLE orders IN SHARE MODE")
            errors = []

            def commit():
                try:
                    run.commit(staged)
                except SynclineError as error:
                    errors.append(error)

            hanging = threading.Thread(target=commit)
            hanging.start()
            while not db.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone():
                pass
            entry = new.fence("c", aim.stream)
            hanging.join(10)
            blocker.execute("COMMIT")
        assert entry.checkpoint.done == frozenset()
        assert len(errors) == 1
        again = Run(new, aim, {"a": [orders((1,))]})
        again.all()
    assert ids(db) == [1]


def test_writers_of_several_partitions_at_once(dsn, db):
    parts = {f"p{i}": [orders(*((i * 1000 + j, "x" * 50) for j in range(500)))] * 2 for i in range(6)}
    for mode in MODES:
        aim = target(stream=f"orders_{mode['write'].value}", **mode)
        with destination(dsn) as made:
            run = Run(made, aim, parts).start()
            staged: list[Staged] = []
            failures: list[SynclineError] = []

            def lay(names, run=run, staged=staged, failures=failures):
                try:
                    staged.extend(run.lay(name) for name in names)
                except SynclineError as error:
                    failures.append(error)

            names = list(parts)
            threads = [threading.Thread(target=lay, args=(names[i::3],)) for i in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
            for each in staged:
                run.commit(each)
            run.finish()
        expected = 3000 if mode["write"] is WriteMode.MERGE else 6000
        assert db.execute(f"SELECT count(*), count(DISTINCT id) FROM {aim.stream.name}").fetchone() == (expected, 3000)


def test_first_fences_at_once_make_one_ledger(dsn, db):
    tokens, failures = [], []

    def fence(number):
        try:
            with destination(dsn, schema="fresh schema") as made:
                tokens.append(made.fence("c", target(stream=f"s{number % 2}").stream).token)
        except SynclineError as error:
            failures.append(error)

    threads = [threading.Thread(target=fence, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(tokens) == [1, 1, 2, 2, 3, 3]


def test_committed_changes_nothing_and_knows_nothing_of_strangers(dsn, db):
    with destination(dsn) as made:
        assert made.committed("c", target().stream) is None
        assert db.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '_syncline%'").fetchone() == (0,)
        Run(made, target(), {"a": [orders((1,))]}).all()
        entry = made.committed("c", target().stream)
        assert entry is not None and entry.checkpoint.position == {"at": "end"} and entry.checkpoint.plan is None
        assert made.committed("other", target().stream) is None
