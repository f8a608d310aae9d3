"""What the readers of all formats share: a file's place, its text as UTF-8, and its errors as ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from syncline.connectors.files.source_config import FileFormatConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.store import ObjectStore

__all__ = ["Extra", "FileAt", "head_of", "open_text", "reading", "unreadable"]

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class FileAt:
    """A file in its store."""

    store: ObjectStore
    key: str

    @property
    def url(self) -> str:
        return self.store.url_of(self.key)

    def wrong(self, message: str, hint: str = "mend the file, or leave it out of the globs") -> SynclineError:
        """The error of a file that cannot be read as what it should be."""
        return SynclineError(ErrorKind.DATA, f"{self.url}: {message}", hint=hint, where={"file": self.key})


#: Called with a file and the names of its columns; raises for one that the stream does not have.
Extra = Callable[[FileAt, Sequence[str]], None]


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Within, a store's error about rights speaks of reading: stores are mostly written to."""
    try:
        yield
    except SynclineError as error:
        if error.kind is ErrorKind.PERMISSION:
            error.message = error.message.replace("no right to write", "no right to read")
        raise


@contextlib.contextmanager
def unreadable(file: FileAt) -> Iterator[None]:
    """Within, errors of Arrow and of decoding become ``data`` errors that name the file."""
    try:
        with reading():
            yield
    except UnicodeError as error:
        raise file.wrong(f"not the encoding that was given: {error}", "set format.encoding") from error
    except (pa.ArrowException, OSError) as error:
        raise file.wrong(" ".join(str(error).split())[:300]) from error


def open_text(file: FileAt, form: FileFormatConfig) -> pa.NativeFile:
    """The file's text as UTF-8, decompressed; to be read once from its beginning to its end."""
    stream = file.store.open_input(file.key)
    if form.compression == "gzip" or (form.compression == "auto" and file.key.lower().endswith(".gz")):
        stream = pa.CompressedInputStream(stream, "gzip")
    if form.encoding not in ("utf-8", "utf-8-sig", "ascii"):
        stream = pa.transcoding_input_stream(stream, form.encoding, "utf-8")
    return stream


def head_of(stream: pa.NativeFile, size: int) -> tuple[bytes, bool]:
    """Up to ``size`` bytes, without a byte order mark, and whether the file ends there."""
    parts, have = [], 0
    while have <= size:
        part = stream.read(size + 1 - have)
        if not part:
            break
        parts.append(part)
        have += len(part)
    data = b"".join(parts)
    return data[:size].removeprefix(_BOM), have <= size
