"""What ``check`` looks at for a destination of tables: every right by trying it, names, and tables of others."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence

from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.findings import Finding, Severity
from syncline.sdk.tables.columns import target_schema
from syncline.sdk.tables.config import TablesConfig
from syncline.sdk.tables.stream_table import StreamTable

__all__ = ["check_tables"]

_PROBE = "_syncline/probe/"


def check_tables(
    store: ObjectStore,
    config: TablesConfig,
    targets: Sequence[StreamTarget],
    of: Callable[[str, StreamName], StreamTable],
) -> list[Finding]:
    """Findings in the order of looking; the store is left as it was."""
    findings = list(_rights(store))
    reachable = all(f.severity is not Severity.ERROR for f in findings)
    folders: dict[str, StreamName] = {}
    for target in targets:
        findings += _of_stream(config, target, of, folders, reachable=reachable)
    return findings


def _rights(store: ObjectStore) -> Iterator[Finding]:
    """Do what a sync does, with small objects under names of their own."""
    key = f"{_PROBE}{secrets.token_hex(8)}.json"
    body = b'{"probe": true}'

    def writes() -> None:
        if not store.put_if_absent(key, body):
            raise SynclineError(ErrorKind.INTERNAL, f"{key} exists already", hint="run the check again")

    def refuses_a_second() -> None:
        if store.put_if_absent(key, b"{}"):
            raise SynclineError(
                ErrorKind.CONFIG,
                f"{store.url} ignores If-None-Match: a second write of one key was accepted",
                hint="commits rest on it, so two writers could undo each other; take a service or version that knows "
                "conditional writes",
            )

    def reads() -> None:
        if store.get(key) != body or key not in [info.key for info in store.list(_PROBE)]:
            raise SynclineError(
                ErrorKind.CONFIG, f"{key} does not read back", hint="is something rewriting objects in between?"
            )

    def uploads() -> None:
        upload = store.upload(f"{_PROBE}{secrets.token_hex(8)}.bin", stage=_PROBE)
        try:
            upload.sink.write(body)
            staged = upload.finish()
        except BaseException:
            upload.abort()
            raise
        store.complete(staged)
        store.delete([staged.key])

    steps = (
        (writes, "writes an object"),
        (refuses_a_second, "refuses to write one twice (commits rest on it)"),
        (reads, "reads and lists it"),
        (uploads, "takes uploads"),
    )
    try:
        for step, says in steps:
            try:
                step()
            except SynclineError as error:
                yield Finding(severity=Severity.ERROR, message=error.message, kind=error.kind, hint=error.hint)
                return
            yield Finding(severity=Severity.OK, message=f"{store.url} {says}")
    finally:
        with contextlib.suppress(SynclineError):
            store.delete([key])


def _of_stream(
    config: TablesConfig,
    target: StreamTarget,
    of: Callable[[str, StreamName], StreamTable],
    folders: dict[str, StreamName],
    *,
    reachable: bool,
) -> Iterator[Finding]:
    name = str(target.stream)
    folder = config.table_folder(target.stream)
    other = folders.setdefault(folder.casefold(), target.stream)
    try:
        if other != target.stream:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the streams {other} and {target.stream} would share the table {folder.rstrip('/')}",
                hint="set namespace: source, so that the namespace is part of the table's place",
            )
        stream = of(target.connection, target.stream)
        target_schema(stream.table, target)
        if reachable:
            stream.entry()
    except SynclineError as error:
        yield Finding(severity=Severity.ERROR, message=error.message, kind=error.kind, hint=error.hint, stream=name)
        return
    yield Finding(severity=Severity.OK, message=f"table {stream.table.place}", stream=name)
