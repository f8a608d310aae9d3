"""The object store: the few operations on which files at a destination are built.

Keys are text with ``/`` between their parts, relative to the store's root (a folder, or a bucket with a prefix). A file
is laid down in two steps: an :class:`Upload` is written and finished, which makes it durable but invisible, and
:meth:`ObjectStore.complete` makes it visible under its key. Between the two lies the commit. Every step may be
repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

__all__ = ["ObjectInfo", "ObjectStore", "PendingUpload", "StagedObject", "Upload"]


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """A visible object. ``modified`` is aware; ``etag`` changes with the content (local: from size and time)."""

    key: str
    size: int
    modified: datetime
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class StagedObject:
    """A finished upload: all that is needed to complete it, by whomever, whenever. ``parts`` are the ETags in order."""

    key: str
    upload: str
    size: int
    parts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "upload": self.upload, "size": self.size, "parts": list(self.parts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StagedObject:
        return cls(key=data["key"], upload=data["upload"], size=data["size"], parts=tuple(data["parts"]))


@dataclass(frozen=True, kw_only=True)
class PendingUpload:
    """An upload that is neither completed nor aborted. ``name`` is the last part of its key, ``upload`` its id."""

    key: str
    upload: str

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


class Upload(Protocol):
    """One file on its way. Used by one thread. Write to ``sink``, then :meth:`finish` or :meth:`abort`."""

    key: str
    sink: pa.NativeFile

    def tell(self) -> int:
        """Bytes written so far."""
        ...

    def finish(self) -> StagedObject:
        """Make everything written durable; it stays invisible. The upload is closed afterwards."""
        ...

    def abort(self) -> None:
        """Throw it away. Safe at any time, also after an error and more than once."""
        ...


class ObjectStore(Protocol):
    """Objects under keys. Reads see every write that returned before (as S3 and file systems do). Used from several
    threads. Every method raises :class:`~syncline.core.errors.SynclineError` and nothing else."""

    @property
    def url(self) -> str:
        """The root as people write it: ``s3://bucket/prefix/`` or ``/folder/``, with the slash at its end."""
        ...

    def url_of(self, key: str) -> str:
        """The object's address for other readers."""
        ...

    def get(self, key: str) -> bytes | None:
        """The content, None when there is no such object. For small objects."""
        ...

    def open_input(self, key: str) -> pa.NativeFile:
        """Random access to an object's content, for readers of data. Raises ``data`` when it is gone."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write a small object, replacing any."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write a small object unless the key exists, in one act, durably. False when it exists: the compare-and-set on
        which fencing rests. After a broken connection it may answer False for our own write: look at the content."""
        ...

    def head(self, key: str) -> ObjectInfo | None: ...

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Visible objects whose key starts with ``prefix`` and is greater than ``start_after``, in key order, page by
        page."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there do not matter."""
        ...

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the store, at the server where there is one."""
        ...

    def upload(self, key: str, *, stage: str, readable: bool = False) -> Upload:
        """Start a file that will be visible at ``key``. ``stage`` is a key prefix below which a store without multipart
        uploads keeps its temporary file, and any store a file that must be ``readable`` before it is completed."""
        ...

    def open_staged(self, staged: StagedObject) -> pa.NativeFile | None:
        """Random access to a finished upload before it is completed; None when this one cannot be read."""
        ...

    def complete(self, staged: StagedObject) -> None:
        """Make a finished upload visible. A second call, or one after somebody else's, does nothing. Raises ``data``
        when the upload is gone and its key does not hold it."""
        ...

    def uploads(self, prefix: str, *, stage: str) -> Iterator[PendingUpload]:
        """Uploads that are neither completed nor aborted: of keys below ``prefix``, or kept below ``stage``."""
        ...

    def abort(self, uploads: Sequence[PendingUpload]) -> None:
        """Throw uploads away; those that are not there do not matter."""
        ...

    def tidy(self) -> None:
        """Remove what interrupted writes of small objects left behind. Cheap; called once per stream and attempt."""
        ...

    def close(self) -> None: ...
