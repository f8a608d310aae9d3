"""The folder of a spool: who may use it, whose it is, and up to where it was once known to be durable.

lock           held by the one process that has the spool open
identity       the spool's uuid; a lost or restored folder has another one, or none
durable        sequence, offset and LSN up to which everything is on disk: written after an fsync has returned, so it
               never promises too much; it may be old or torn, then more is checked at the next opening
N.log          files of whole transactions, in the order of N
stream-X.part  a streamed transaction that is not committed yet
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import uuid
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Durable", "SpoolFolder", "disk_error", "sync_names"]

_MARK = struct.Struct("<8sQQQ")
_CRC = struct.Struct("<I")
_MAGIC = b"SYNCDUR1"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, kw_only=True)
class Durable:
    """Everything before ``offset`` of file ``sequence``, and so every transaction below ``lsn``, is on disk."""

    sequence: int = 0
    offset: int = 0
    lsn: int = 0


class SpoolFolder:
    """Made and locked by opening; raises ``conflict`` when another process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            fresh = [each for each in (path, *path.parents) if not each.exists()]
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
            for each in fresh:
                sync_names(each.parent)  # else a power cut could take the folder with all that is in it
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 20, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"another process{f' (pid {holder})' if holder else ''} has the spool open",
                hint="only one process may receive a log: stop the other one, or give this one another folder",
                where={"path": str(path)},
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        self.identity = self._read_identity() or self._write_identity()

    def renew(self) -> None:
        """Become another spool: what was in the former one is given up."""
        with suppress(FileNotFoundError):
            (self.path / "durable").unlink()
        self.identity = self._write_identity()

    def segments(self) -> list[tuple[int, Path]]:
        """Sequence and path of the files of whole transactions, in order."""
        found = [(int(each.stem), each) for each in self.path.glob("*.log") if each.stem.isdigit()]
        return sorted(found)

    def parts(self) -> list[Path]:
        return list(self.path.glob("*.part"))

    def segment_path(self, sequence: int) -> Path:
        return self.path / f"{sequence:010d}.log"

    def part_path(self, xid: int) -> Path:
        return self.path / f"stream-{xid}.part"

    def sync(self) -> None:
        """Make names durable: of files that were made, renamed or deleted."""
        sync_names(self.path)

    @property
    def durable(self) -> Durable:
        try:
            data = (self.path / "durable").read_bytes()
            magic, sequence, offset, lsn = _MARK.unpack_from(data)
            crc = _CRC.unpack_from(data, _MARK.size)[0]
        except (OSError, struct.error):
            return Durable()
        if magic != _MAGIC or crc != zlib.crc32(data[: _MARK.size]):
            return Durable()
        return Durable(sequence=sequence, offset=offset, lsn=lsn)

    @durable.setter
    def durable(self, mark: Durable) -> None:
        body = _MARK.pack(_MAGIC, mark.sequence, mark.offset, mark.lsn)
        descriptor = os.open(self.path / "durable", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, body + _CRC.pack(zlib.crc32(body)), 0)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        os.close(self._lock)  # which gives the lock back

    def _read_identity(self) -> uuid.UUID | None:
        try:
            return uuid.UUID((self.path / "identity").read_text(encoding="ascii").strip())
        except (FileNotFoundError, ValueError):
            return None

    def _write_identity(self) -> uuid.UUID:
        found = uuid.uuid4()
        partial = self.path / "identity.new"
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, f"{found}\n".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            partial.replace(self.path / "identity")
            self.sync()
        except OSError as error:
            raise disk_error(error, self.path) from error
        return found


def sync_names(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError, path: Path) -> SynclineError:
    """What a failed write means, as ours."""
    if error.errno in _FULL:
        return SynclineError(
            ErrorKind.RESOURCE,
            f"there is no room for the spool: {error.strerror}",
            hint="free space on that disk (or raise the quota or file size limit), or move the spool to a larger one; "
            "nothing is lost, the next run goes on from what is there",
            where={"path": str(path)},
        )
    return SynclineError(
        ErrorKind.RESOURCE,
        f"the spool cannot be written: {error.strerror or error}",
        hint="check the disk and the rights of that folder",
        where={"path": str(path)},
    )
