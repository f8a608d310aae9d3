"""Names in BigQuery: what a stream's and its columns' names become, and how they are written in SQL.

The rules, for tables and columns alike: accents go (é becomes e), every other character that is not an ASCII letter,
a digit or _ becomes _, a name that would begin with a digit gets a _ before it, and so does one with a prefix that
BigQuery keeps for itself. Names differ only by more than case. Two columns that become one name are refused before
anything is read.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

__all__ = ["OURS", "TableName", "column_names", "digest", "literal", "normal", "quote", "quoted_list"]

#: Everything that we make for ourselves begins so.
OURS = "_syncline_"

_LONGEST = 300
_OTHER = re.compile(r"[^A-Za-z0-9_]")
_RESERVED = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
    "_change_sequence_number",
    "_change_type",
    "_change_timestamp",
)


@dataclass(frozen=True, kw_only=True)
class TableName:
    """A table; ``str()`` is how SQL writes it."""

    project: str
    dataset: str
    name: str

    def __str__(self) -> str:
        return f"`{self.project}`.`{self.dataset}`.`{self.name}`"

    @property
    def path(self) -> str:
        """As the API and people write it."""
        return f"{self.project}.{self.dataset}.{self.name}"


def normal(name: str) -> str:
    """What a name becomes."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    plain = _OTHER.sub("_", plain)
    if not plain or plain[0].isdigit() or plain.lower().startswith(_RESERVED):
        plain = "_" + plain
    return plain


def column_names(names: Iterable[str], stream: StreamName) -> dict[str, str]:
    """The columns' names in BigQuery by the stream's. ``schema`` error for two that become one, or one too long."""
    out: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        made = normal(name)
        other = taken.setdefault(made.lower(), name)
        if other != name:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"columns {other!r} and {name!r} would both be named {made!r} in BigQuery",
                hint="rename one by a mapping of the stream or at the source, or leave it out of the stream's columns",
                where={"connector": "bigquery", "stream": str(stream), "column": name},
            )
        if len(made) > _LONGEST:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"column {name[:40]!r}… has a name of {len(made)} characters; BigQuery takes {_LONGEST}",
                hint="rename it by a mapping of the stream, or leave it out",
                where={"connector": "bigquery", "stream": str(stream)},
            )
        out[name] = made
    return out


def quote(name: str) -> str:
    """A column's name in SQL; only what :func:`normal` gives, so that nothing in it needs escaping."""
    if _OTHER.search(name):
        raise SynclineError(ErrorKind.INTERNAL, f"{name!r} is not a name that we make")
    return f"`{name}`"


def quoted_list(names: Iterable[str]) -> str:
    return ", ".join(quote(n) for n in names)


def literal(text: str) -> str:
    """A text in SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def digest(*parts: object) -> str:
    """16 hex digits that stand for these."""
    text = "\0".join(str(p) for p in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
