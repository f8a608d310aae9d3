"""One table of a format, as a destination needs it. The docstrings are the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Bounds", "Lost", "Pointer", "Table", "TableChange", "TableFile", "TableMoved", "TableState"]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What is known of one column of a file: how many NULLs, and values that none is below or above (None: not known).
    Values are integers (also for dates, timestamps and the digits of decimals) or text."""

    nulls: int
    low: int | str | None = None
    high: int | str | None = None

    def to_json(self) -> list[Any]:
        return [self.nulls, self.low, self.high]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Bounds:
        return cls(nulls=data[0], low=data[1], high=data[2])


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """One Parquet file. ``key`` is relative to the store's root; ``handle`` is the format's own, of files that are in
    the table."""

    key: str
    rows: int
    bytes: int
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    handle: Any = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        bounds = {name: each.to_json() for name, each in self.bounds.items()}
        return {"key": self.key, "rows": self.rows, "bytes": self.bytes, "bounds": bounds}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableFile:
        bounds = {name: Bounds.from_json(each) for name, each in data["bounds"].items()}
        return cls(key=data["key"], rows=data["rows"], bytes=data["bytes"], bounds=bounds)


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """What a table's own commits say about our ledger: whose commit the last one of ours was, and which. The rest of
    the entry lies in the :mod:`record <syncline.sdk.tables.records>` of that name."""

    token: int
    sequence: int

    @property
    def name(self) -> str:
        return f"{self.sequence:012}-{self.token:08}"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Rows that the source was told are here were taken out again, by going back to an older version: ``what`` has
    happened, and how it can be ``undone``, in words."""

    what: str
    undone: str


@dataclass(frozen=True, kw_only=True)
class TableState:
    """A table at one version. ``schema`` has its columns in the types in which files hold them. ``pointer`` is None in
    a table that this stream did not make. ``foreign`` says in words who made the newest commit when it was not us.
    ``lost`` is there when somebody went back to a version from before our last commit."""

    version: int
    schema: pa.Schema
    files: tuple[TableFile, ...]
    pointer: Pointer | None
    foreign: str = ""
    lost: Lost | None = None
    handle: Any = field(default=None, compare=False)

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.files)


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """What one commit does. ``added`` files lie under their keys; ``removed`` are files of the state that the change is
    made from. ``schema``: the columns afterwards, None to leave them. ``renamed``: new to former name. ``rearranged``:
    the rows are the same as before (compaction). ``accepts_loss``: what was :class:`Lost` is not missed any more; any
    other commit over such a state leaves it lost. ``note`` is written into the commit for people."""

    pointer: Pointer
    added: tuple[TableFile, ...] = ()
    removed: tuple[TableFile, ...] = ()
    schema: pa.Schema | None = None
    replaces: bool = False
    rearranged: bool = False
    accepts_loss: bool = False
    note: Mapping[str, Any] = field(default_factory=dict)


class TableMoved(SynclineError):  # noqa: N818 - says what happened
    """Somebody else has committed since the state was read. Never leaves this room."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorKind.CONFLICT, message, hint="it is tried again on the newer version")


class Table(Protocol):
    """One table. Used by one thread. Raises :class:`~syncline.core.errors.SynclineError` and nothing else."""

    #: Where people find it: a path or an address, or the catalog's name of it.
    place: str
    #: Key prefix of data files, relative to the store's root, with its slash.
    data_prefix: str

    def load(self) -> TableState | None:
        """The newest state; None when there is no table. Cheap when nothing has changed."""
        ...

    def storage_type(self, kind: pa.DataType) -> pa.DataType:
        """The type in which files hold a column that comes as ``kind``. ``schema`` error when there is none."""
        ...

    def file_schema(self, state: TableState | None, schema: pa.Schema) -> pa.Schema:
        """``schema`` as files are written with it (field ids, where the format wants them)."""
        ...

    def create(self, schema: pa.Schema, change: TableChange) -> TableState:
        """Make the table and its first commit. Raises :class:`TableMoved` when there is one meanwhile."""
        ...

    def commit(self, state: TableState, change: TableChange) -> TableState:
        """Apply the change if ``state`` is still the newest, in one act; gives the state after it. Raises
        :class:`TableMoved` otherwise. A commit whose answer was lost is recognised as our own."""
        ...

    def refusal(self, name: str) -> str | None:
        """Why a column cannot have that name, None when it can."""
        ...

    def retired(self, state: TableState) -> frozenset[str]:
        """Keys of files that are kept for readers of older versions; those of ``state`` may be among them."""
        ...

    def expire(self, state: TableState, *, older_than_seconds: float) -> TableState:
        """Forget versions that are older, and delete the files that only they had."""
        ...
