"""Where files lie: a folder, or a bucket from which they are fetched one group after the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Bucket", "Folder", "Listed", "Place"]

#: Fetched files stay until so much has come after them, so that looking closer does not fetch everything again.
_KEPT_BYTES = 2 << 30
_COPY_BYTES = 1 << 20

_DENIED = (ErrorKind.PERMISSION, "allow {right} to this key")
_KEY = (ErrorKind.AUTH, "check access_key_id and secret_access_key, or the AWS environment")
#: S3's code, or the name of the client's exception, to (kind, what to do).
_FAILURES = {
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "AllAccessDisabled": _DENIED,
    "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _KEY,
    "ExpiredToken": _KEY,
    "NoCredentialsError": _KEY,
    "PartialCredentialsError": _KEY,
    "NoSuchBucket": (ErrorKind.CONFIG, "check the bucket's name and region"),
}


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One object: its key relative to the place, its size in bytes, and when it was last written (aware)."""

    key: str
    size: int
    modified: datetime


class Place(Protocol):
    """Objects under keys, for reading."""

    def listing(self, prefix: str) -> list[Listed]:
        """All objects whose key has a prefix, in key order."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Their keys."""
        ...

    def content(self, key: str) -> bytes | None:
        """A small object; None when there is none."""
        ...

    def paths(self, files: Sequence[tuple[str, int]]) -> list[Path]:
        """Local paths of these files (key, size or -1), valid until the next call. Raises ``data`` for one that is gone
        or has another size."""
        ...

    def close(self) -> None: ...


class Folder:
    """A local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def listing(self, prefix: str) -> list[Listed]:
        top = self._root / prefix.rpartition("/")[0]
        found = []
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder) / name
                key = path.relative_to(self._root).as_posix()
                if not key.startswith(prefix):
                    continue
                try:
                    about = path.stat()
                except FileNotFoundError:
                    continue  # deleted while we looked
                modified = datetime.fromtimestamp(about.st_mtime, UTC)
                found.append(Listed(key=key, size=about.st_size, modified=modified))
        return sorted(found, key=lambda listed: listed.key)

    def keys(self, prefix: str) -> list[str]:
        return [listed.key for listed in self.listing(prefix)]

    def content(self, key: str) -> bytes | None:
        try:
            return (self._root / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SynclineError(
                ErrorKind.PERMISSION, f"{self._root / key}: {error.strerror}", hint="give us the right to read it"
            ) from error

    def paths(self, files: Sequence[tuple[str, int]]) -> list[Path]:
        found = []
        for key, size in files:
            path = self._root / key
            _check(str(path), size, path.stat().st_size if path.is_file() else None)
            found.append(path)
        return found

    def close(self) -> None:
        """Nothing is held."""


class Bucket:
    """A bucket of S3, through a boto3 client that somebody else has made. Files are fetched below ``work_dir``."""

    def __init__(self, client: Any, bucket: str, prefix: str, work_dir: Path) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix
        work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = Path(tempfile.mkdtemp(prefix="verify-files-", dir=work_dir))
        self._kept: dict[str, Path] = {}

    def listing(self, prefix: str) -> list[Listed]:
        found = []
        with self._told("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    key = entry["Key"][len(self._prefix) :]
                    found.append(Listed(key=key, size=entry["Size"], modified=entry["LastModified"]))
        return sorted(found, key=lambda listed: listed.key)

    def keys(self, prefix: str) -> list[str]:
        return [listed.key for listed in self.listing(prefix)]

    def content(self, key: str) -> bytes | None:
        with self._told("read", key):
            try:
                data: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
            except self._client.exceptions.NoSuchKey:
                return None
            return data

    def paths(self, files: Sequence[tuple[str, int]]) -> list[Path]:
        wanted = {key for key, _ in files}
        for key in list(self._kept):
            held = sum(path.stat().st_size for path in self._kept.values())
            if held + sum(max(size, 0) for _, size in files) <= _KEPT_BYTES:
                break
            if key not in wanted:
                self._kept.pop(key).unlink(missing_ok=True)
        for key, size in files:
            if key not in self._kept:
                self._kept[key] = self._fetch(key, size)
        return [self._kept[key] for key, _ in files]

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _fetch(self, key: str, size: int) -> Path:
        # The ending stays: it says how a text file is compressed.
        path = self._folder / f"{len(self._kept)}-{abs(hash(key)):x}-{key.rpartition('/')[2][-60:]}"
        with self._told("read", key):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"]
            except self._client.exceptions.NoSuchKey:
                _check(f"s3://{self._bucket}/{self._prefix}{key}", size, None)
                raise
            with contextlib.closing(body), path.open("wb") as file:
                shutil.copyfileobj(body, file, _COPY_BYTES)
        _check(f"s3://{self._bucket}/{self._prefix}{key}", size, path.stat().st_size)
        return path

    @contextlib.contextmanager
    def _told(self, what: str, key: str) -> Iterator[None]:
        """Errors of the client as ours; they are told by their shape, since its library is not ours to import."""
        try:
            yield
        except SynclineError:
            raise
        except OSError as error:
            raise SynclineError(
                ErrorKind.RESOURCE, f"cannot keep a file of s3://{self._bucket}: {error}", hint="free some disk space"
            ) from error
        except Exception as error:
            if not type(error).__module__.startswith(("boto", "urllib3", "http")):
                raise
            code = str(getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__))
            right = "s3:ListBucket" if what == "list" else "s3:GetObject"
            kind, hint = _FAILURES.get(code, (ErrorKind.UNREACHABLE, "check the endpoint and the network"))
            raise SynclineError(
                kind,
                f"cannot {what} s3://{self._bucket}/{self._prefix}{key}: {error}",
                hint=hint.format(right=right),
                where={"bucket": self._bucket},
            ) from error


def _check(name: str, wanted: int, found: int | None) -> None:
    if found is None or (wanted >= 0 and found != wanted):
        what = "is gone" if found is None else f"has {found} bytes, and {wanted} were written"
        raise SynclineError(
            ErrorKind.DATA,
            f"file {name} {what}",
            hint="somebody or a rule of the bucket changed it: copy the stream anew (syncline state reset)",
        )
