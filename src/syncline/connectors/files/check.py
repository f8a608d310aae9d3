"""What ``check`` looks at for a destination of files: every right by trying it, then the settings and names."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from syncline.connectors.files.config import FilesDestinationConfig, S3DestinationConfig
from syncline.connectors.files.folders import ensure_partitionable
from syncline.connectors.files.layout import NAMESPACE_HINT, stream_folder_format, stream_prefix
from syncline.connectors.files.lifecycle import bucket_rule_findings
from syncline.connectors.files.types import type_note
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.log import read_manifest
from syncline.sdk.files.s3 import S3Store
from syncline.sdk.files.s3_errors import policy
from syncline.sdk.files.store import ObjectStore, PendingUpload
from syncline.sdk.findings import Finding, Severity

__all__ = ["check_destination"]

#: Below this a sync of any size is likely to fill the disk.
_LITTLE_DISK = 2 * 10**9
_PROBE = "_syncline/probe/"


def check_destination(
    store: ObjectStore, config: FilesDestinationConfig, targets: Sequence[StreamTarget]
) -> list[Finding]:
    """Findings in the order of looking; the store is left as it was."""
    findings = list(_reach(store))
    if not any(f.severity is Severity.ERROR for f in findings):
        with _left_as_it_was(store):
            findings += _rights(store)
    if isinstance(store, S3Store) and isinstance(config, S3DestinationConfig):
        if any(f.kind is ErrorKind.PERMISSION for f in findings):
            findings.append(_policy_finding(store, config))
        elif not any(f.severity is Severity.ERROR for f in findings):
            findings += bucket_rule_findings(store, config)
    if isinstance(store, LocalStore):
        findings += _disk(store.root)
    findings += _collisions(config, targets)
    reachable = not any(f.severity is Severity.ERROR for f in findings)
    for target in targets:
        findings += _of_stream(config, target)
        if reachable:
            findings += _strangers(store, config, target)
    return findings


def _reach(store: ObjectStore) -> Iterator[Finding]:
    """Whether the bucket is there at all: everything else would fail with the same words."""
    if not isinstance(store, S3Store):
        return
    try:
        next(store.list(_PROBE), None)
    except SynclineError as error:
        # A denied list says that the bucket exists; which rights lack is found out one by one.
        if error.kind is not ErrorKind.PERMISSION:
            yield _failed(error)
            return
    yield _fine(f"bucket {store.bucket} in region {store.client.meta.region_name} answers")


@contextlib.contextmanager
def _left_as_it_was(store: ObjectStore) -> Iterator[None]:
    """Folders that probing makes are removed again."""
    missing: list[Path] = []
    if isinstance(store, LocalStore):
        folder = store.root / "_syncline" / "tmp"
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
    yield
    for folder in missing:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _rights(store: ObjectStore) -> list[Finding]:
    """Do what a sync does, with a small object under a name of its own."""
    key = f"{_PROBE}{secrets.token_hex(8)}.json"
    body = b'{"probe": true}'
    upload_key = f"{_PROBE}{secrets.token_hex(8)}.bin"

    def put() -> None:
        if not store.put_if_absent(key, body):
            raise SynclineError(ErrorKind.INTERNAL, f"{key} exists already", hint="run the check again")

    def refuses_second_put() -> None:
        if store.put_if_absent(key, b"{}"):
            raise SynclineError(
                ErrorKind.CONFIG,
                f"{store.url} ignores If-None-Match: a second write of one key was accepted",
                hint="commits rest on it, so two runs could undo each other; take a service or version that knows "
                "conditional writes",
            )

    def read() -> None:
        found = store.get(key)
        if found != body:
            raise SynclineError(
                ErrorKind.CONFIG, f"{key} reads back as {found!r}", hint="is something rewriting objects in between?"
            )

    def find() -> None:
        if key not in [info.key for info in store.list(_PROBE)]:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"{store.url} does not list an object that was just written",
                hint="Syncline needs a store whose lists are consistent, as S3's are",
            )

    def stage() -> None:
        upload = store.upload(upload_key, stage=_PROBE)
        try:
            upload.sink.write(body)
            staged = upload.finish()
        except SynclineError:
            upload.abort()
            raise
        store.abort([PendingUpload(key=upload_key, upload=staged.upload)])

    def find_stages() -> None:
        list(store.uploads(_PROBE, stage=_PROBE))

    def delete() -> None:
        store.delete([key])

    steps: list[tuple[str, Callable[[], None]]] = [
        ("write", put),
        ("read", read),
        ("list", find),
        ("write if absent", refuses_second_put),
        ("stage a file and throw it away", stage),
        ("list staged files", find_stages),
        ("delete", delete),
    ]
    findings: list[Finding] = []
    written = True
    for name, step in steps:
        if not written and step in (read, find, refuses_second_put):
            continue
        try:
            step()
        except SynclineError as error:
            findings.append(_failed(error, f"cannot {name}: "))
            written = written and step is not put
    if not findings:
        findings.append(_fine(f"{store.url}: {', '.join(name for name, _ in steps)}: all allowed"))
    return findings


def _policy_finding(store: S3Store, config: S3DestinationConfig) -> Finding:
    document = policy(store.bucket, store.prefix, key_arn=store.key_arn, lifecycle=bool(config.lifecycle))
    return Finding(
        severity=Severity.WARNING,
        message="rights are missing; this policy holds all that are needed, and no more",
        hint=json.dumps(document),
    )


def _disk(root: Path) -> list[Finding]:
    place = root
    while not place.exists():
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return []
    if free >= _LITTLE_DISK:
        return []
    return [
        Finding(
            severity=Severity.WARNING,
            message=f"only {free / 10**9:.1f} GB are free at {place}",
            hint="a full refresh needs room for the new copy beside the old one",
        )
    ]


def _collisions(config: FilesDestinationConfig, targets: Sequence[StreamTarget]) -> list[Finding]:
    folders = Counter(stream_folder_format(config, t.stream) for t in targets)
    findings = []
    for folder, count in folders.items():
        if count > 1:
            names = ", ".join(str(t.stream) for t in targets if stream_folder_format(config, t.stream) == folder)
            findings.append(
                Finding(
                    severity=Severity.ERROR,
                    message=f"the streams {names} would share the folder {folder}",
                    kind=ErrorKind.CONFIG,
                    hint=NAMESPACE_HINT,
                )
            )
    return findings


def _of_stream(config: FilesDestinationConfig, target: StreamTarget) -> list[Finding]:
    stream = str(target.stream)
    findings = []
    try:
        ensure_partitionable(config, target.schema)
    except SynclineError as error:
        findings.append(_failed(error, stream=stream))
    findings += [
        Finding(
            severity=Severity.WARNING,
            message=f"column {field.name!r} ({field.native or field.type}) is written as {note}",
            stream=stream,
        )
        for field in target.schema.fields
        if (note := type_note(field.type, config.format.format_type))
    ]
    same = [n for n, count in Counter(name.lower() for name in target.schema.names).items() if count > 1]
    if same:
        findings.append(
            Finding(
                severity=Severity.WARNING,
                message=f"columns differ only in upper and lower case: {', '.join(same)}",
                hint="many readers (DuckDB, Spark, Athena) take them for one; leave one out with columns:",
                stream=stream,
            )
        )
    return findings


def _strangers(store: ObjectStore, config: FilesDestinationConfig, target: StreamTarget) -> list[Finding]:
    """Files in the stream's folder that this connection did not write: they would be read together with ours."""
    try:
        if read_manifest(store, target.connection, target.stream) is not None:
            return []
        first = next((i for i in store.list(stream_prefix(config, target.stream)) if not _ours(i.key)), None)
    except SynclineError:
        return []  # what is wrong has been said
    if first is None:
        return []
    return [
        Finding(
            severity=Severity.WARNING,
            message=f"{store.url_of(first.key)} was not written by this connection and stays",
            hint="readers of the folder would take it for rows of this stream; move it away or choose another prefix",
            stream=str(target.stream),
        )
    ]


def _ours(key: str) -> bool:
    return key.startswith("_syncline/")


def _failed(error: SynclineError, before: str = "", stream: str | None = None) -> Finding:
    return Finding(
        severity=Severity.ERROR, message=before + error.message, kind=error.kind, hint=error.hint, stream=stream
    )


def _fine(message: str) -> Finding:
    return Finding(severity=Severity.OK, message=message)
