"""The object store over a folder: temporary file, fsync, then link(2) or rename(2), then fsync of the directory."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.store import ObjectInfo, PendingUpload, StagedObject

__all__ = ["LocalStore", "LocalUpload", "local_error"]

#: Temporary files of small objects live here, below the root: same file system, ignored by readers of the data.
_TEMPORARY = "_syncline/tmp/"
#: Older temporary files belong to nobody any more: writing one takes milliseconds.
_STALE_SECONDS = 3600.0
#: Between the random part and the file's name in the name of a temporary file of an upload.
_MARK = "~"
#: Dirty pages are handed to the disk in steps of this size while the file is still being written, by a thread of their
#: own: the fsync at its end then has little to wait for.
_FLUSH_BYTES = 32 << 20


def local_error(error: OSError, path: Path | str) -> SynclineError:
    """An operating system's error as ours, with what to do about it."""
    where = {"path": str(path)}
    code = error.errno
    reason = error.strerror or str(error)
    if code in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full" if code == errno.ENOSPC else "the disk quota is used up"
        return SynclineError(
            ErrorKind.RESOURCE, f"{what}: {path}", hint="free some space there, then run again: it goes on", where=where
        )
    if code in (errno.EACCES, errno.EPERM):
        return SynclineError(
            ErrorKind.PERMISSION,
            f"no right to write {path}: {reason}",
            hint=f"give the user that runs syncline (uid {os.getuid()}) rights there, e.g. chown -R {os.getuid()}",
            where=where,
        )
    if code == errno.EROFS:
        return SynclineError(
            ErrorKind.PERMISSION,
            f"the file system of {path} is read-only",
            hint="mount it writable, or choose another path",
            where=where,
        )
    if code in (errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return SynclineError(
            ErrorKind.CONFIG, f"{path}: {reason}", hint="a file and a folder want the same name there", where=where
        )
    if code == errno.EXDEV:
        return SynclineError(
            ErrorKind.CONFIG,
            f"{path} is on another file system than the root of the destination",
            hint="files become visible by one rename, which works within one file system; move the root or the mount",
            where=where,
        )
    if code == errno.ENAMETOOLONG:
        return SynclineError(
            ErrorKind.CONFIG, f"the name is too long for the file system: {path}", hint="shorten the path", where=where
        )
    if code == errno.EMFILE:
        return SynclineError(
            ErrorKind.RESOURCE,
            "too many open files",
            hint="raise the limit (ulimit -n) or lower concurrency",
            where=where,
        )
    if code in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY):
        return SynclineError(ErrorKind.TRANSIENT, f"{path}: {reason}", hint="look at the disk or mount", where=where)
    return SynclineError(ErrorKind.INTERNAL, f"{path}: {reason}", hint="please report this", where=where)


@contextlib.contextmanager
def _told(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise local_error(error, path) from error


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_directories(path: Path) -> None:
    """As ``mkdir -p``, each new name durable in its parent."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another thread was faster; a file of that name shows up later
            each.mkdir()
        _sync_directory(each.parent)


class LocalUpload:
    """A temporary file below the stage. Arrow writes it through its own file class, without a Python call per page."""

    def __init__(self, root: Path, key: str, stage: str) -> None:
        self.key = key
        name = key.rpartition("/")[2]
        self._upload = f"{stage}{secrets.token_hex(4)}{_MARK}{name}"
        self._path = root / self._upload
        with _told(self._path):
            _make_directories(self._path.parent)
            self.sink = pa.OSFile(str(self._path), "wb")
            self._fd = os.open(self._path, os.O_RDONLY)
        self._flushed = 0
        self._flusher: threading.Thread | None = None

    def tell(self) -> int:
        size = int(self.sink.tell())
        if size - self._flushed >= _FLUSH_BYTES and (self._flusher is None or not self._flusher.is_alive()):
            self._flushed = size
            self._flusher = threading.Thread(target=_flush, args=(self._fd,), name="flush", daemon=True)
            self._flusher.start()
        return size

    def finish(self) -> StagedObject:
        with _told(self._path):
            self.sink.close()  # once more does no harm: a compressing stream closes what it writes into
            size = os.fstat(self._fd).st_size
            if self._flusher is not None:
                self._flusher.join()
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            _sync_directory(self._path.parent)
        return StagedObject(key=self.key, upload=self._upload, size=size)

    def abort(self) -> None:
        if self._fd < 0 and self.sink.closed and not self._path.exists():
            return
        with contextlib.suppress(OSError):
            self.sink.close()
        if self._flusher is not None:
            self._flusher.join()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(OSError):  # the next attempt's clean-up finds it again
            self._path.unlink(missing_ok=True)


def _flush(fd: int) -> None:
    with contextlib.suppress(OSError):  # a real failure comes back at the fsync of `finish`
        os.fdatasync(fd) if hasattr(os, "fdatasync") else os.fsync(fd)


class LocalStore:
    """Objects as files below ``root``, which is made when first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def url(self) -> str:
        return f"{self.root}/"

    def url_of(self, key: str) -> str:
        return str(self.root / key)

    def get(self, key: str) -> bytes | None:
        path = self.root / key
        with _told(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def open_input(self, key: str) -> pa.NativeFile:
        path = self.root / key
        try:
            return pa.OSFile(str(path), "rb")
        except FileNotFoundError as error:
            raise SynclineError(
                ErrorKind.DATA, f"{path} is gone", hint="something else removed it", where={"path": str(path)}
            ) from error
        except OSError as error:
            raise local_error(error, path) from error

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        with _told(path):
            temporary = self._temporary(data)
            _make_directories(path.parent)
            temporary.replace(path)
            _sync_directory(path.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self.root / key
        with _told(path):
            temporary = self._temporary(data)
            try:
                _make_directories(path.parent)
                # link(2) fails when the name exists and shows the whole content or nothing: a compare-and-set.
                os.link(temporary, path)
                _sync_directory(path.parent)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise SynclineError(
                        ErrorKind.CONFIG,
                        f"the file system of {self.root} knows no hard links, on which atomic commits rest",
                        hint="choose a path on a Unix file system (ext4, xfs, btrfs, zfs, apfs, nfs)",
                        where={"path": str(self.root)},
                    ) from error
                raise
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def _temporary(self, data: bytes) -> Path:
        folder = self.root / _TEMPORARY
        _make_directories(folder)
        path = folder / secrets.token_hex(8)
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path

    def head(self, key: str) -> ObjectInfo | None:
        path = self.root / key
        with _told(path):
            try:
                return _info(key, path.stat())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        folder, _, _ = prefix.rpartition("/")
        with _told(self.root / folder):
            yield from _walk(self.root, f"{folder}/" if folder else "", prefix, start_after)

    def delete(self, keys: Sequence[str]) -> None:
        folders = set()
        for key in keys:
            path = self.root / key
            with _told(path):
                path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in sorted(folders, key=lambda f: -len(f.parts)):
            self._remove_empty(folder)

    def _remove_empty(self, folder: Path) -> None:
        """Empty folders are nothing in an object store; here they would stay behind for each former partition."""
        with contextlib.suppress(OSError):  # not empty, or somebody else's
            while folder != self.root and self.root in folder.parents:
                folder.rmdir()
                folder = folder.parent

    def copy(self, source: str, target: str) -> None:
        path = self.root / target
        with _told(path):
            temporary = self.root / _TEMPORARY / secrets.token_hex(8)
            _make_directories(temporary.parent)
            try:
                shutil.copyfile(self.root / source, temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                _make_directories(path.parent)
                temporary.replace(path)
                _sync_directory(path.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def upload(self, key: str, *, stage: str, readable: bool = False) -> LocalUpload:
        return LocalUpload(self.root, key, stage)

    def open_staged(self, staged: StagedObject) -> pa.NativeFile | None:
        return self.open_input(staged.upload)

    def complete(self, staged: StagedObject) -> None:
        source, target = self.root / staged.upload, self.root / staged.key
        with _told(target):
            for _ in range(3):  # another process may remove the still empty folder as we make it
                _make_directories(target.parent)
                with contextlib.suppress(FileNotFoundError):
                    source.rename(target)
                    break
            else:
                info = self.head(staged.key)
                if info is None or info.size != staged.size:
                    raise SynclineError(
                        ErrorKind.DATA,
                        f"the staged file {source} is gone and {target} does not hold it",
                        hint="something removed a file below _syncline/; restore it, or see the docs on lost stages",
                        where={"path": str(source)},
                    )
            _sync_directory(target.parent)

    def uploads(self, prefix: str, *, stage: str) -> Iterator[PendingUpload]:
        folder = self.root / stage
        with _told(folder):
            try:
                names = sorted(each.name for each in folder.iterdir())
            except FileNotFoundError:
                return
        for name in names:
            if _MARK in name:
                yield PendingUpload(key=prefix + name.partition(_MARK)[2], upload=stage + name)

    def abort(self, uploads: Sequence[PendingUpload]) -> None:
        for each in uploads:
            path = self.root / each.upload
            with _told(path):
                path.unlink(missing_ok=True)

    def tidy(self) -> None:
        folder = self.root / _TEMPORARY
        limit = time.time() - _STALE_SECONDS
        with _told(folder), contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.stat().st_mtime < limit:
                    Path(entry.path).unlink(missing_ok=True)

    def close(self) -> None:
        pass


def _info(key: str, stat: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size=stat.st_size,
        modified=datetime.fromtimestamp(stat.st_mtime, UTC),
        etag=f"{stat.st_mtime_ns:x}-{stat.st_size:x}",
    )


def _walk(root: Path, folder: str, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
    """Files below ``folder`` in key order: a folder's key ends with a slash, as it would in a flat key space."""
    try:
        with os.scandir(root / folder) as entries:
            found = sorted((folder + e.name + ("/" if e.is_dir() else ""), e) for e in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for key, entry in found:
        if key.endswith("/"):
            # Below lies something wanted only if the two prefixes agree as far as the shorter one goes.
            if (key.startswith(prefix) or prefix.startswith(key)) and not (
                start_after and _all_before(key, start_after)
            ):
                yield from _walk(root, key, prefix, start_after)
        elif key.startswith(prefix) and key > start_after:
            try:
                yield _info(key, entry.stat())
            except FileNotFoundError:
                continue


def _all_before(folder: str, start_after: str) -> bool:
    """Whether every key below ``folder`` is smaller than ``start_after``."""
    return folder < start_after and not start_after.startswith(folder)
