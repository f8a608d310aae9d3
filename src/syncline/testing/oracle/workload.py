"""The load of the oracle: several writers on one source, begun and ended together."""

from __future__ import annotations

from typing import Self

import psycopg

from syncline.testing.oracle.commits import CommitJournal
from syncline.testing.oracle.writer import Writer, settle_prepared

__all__ = ["Workload"]


class Workload:
    """Use as a context manager, or :meth:`start` and :meth:`stop`. The tables must be there (``create_tables``);
    workloads may follow each other with one ``journal``.

    ``per_second`` is the number of transactions that all writers together try to make, None for as many as they can."""

    def __init__(
        self,
        dsn: str,
        journal: CommitJournal,
        *,
        seed: int,
        writers: int = 4,
        per_second: float | None = None,
        shapes: bool = True,
        large: bool = True,
        truncates: bool = True,
    ) -> None:
        self._dsn = dsn
        self.journal = journal
        self._writers = [
            Writer(
                dsn,
                self.journal,
                number,
                seed=str(seed),
                per_second=None if per_second is None else per_second / writers,
                shapes=shapes,
                large=large,
                truncates=truncates,
            )
            for number in range(writers)
        ]

    def start(self) -> None:
        for writer in self._writers:
            writer.start()

    def stop(self) -> None:
        """End all writers, settle what they had prepared. Raises what a writer failed with: a defect of the oracle.
        Safe to call twice."""
        for writer in self._writers:
            writer.stop()
        for writer in self._writers:
            if writer.ident is not None:
                writer.join(60)
            if writer.failure is not None:
                raise writer.failure
            if writer.is_alive():
                raise RuntimeError(f"{writer.name} does not end")
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            settle_prepared(connection)

    def abandon(self) -> None:
        """After a failure: end the writers, whatever becomes of their work."""
        for writer in self._writers:
            writer.stop()
        for writer in self._writers:
            if writer.ident is not None:
                writer.join(60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.abandon()
