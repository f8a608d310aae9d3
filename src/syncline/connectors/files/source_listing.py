"""Which files belong to a stream, which of them are new, and how they are cut into partitions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from syncline.sdk.files.store import ObjectInfo, ObjectStore

__all__ = ["FilePart", "fixed_prefix", "glob_pattern", "is_new", "listed", "parts_of", "position_after"]

#: So many of the newest files are remembered one by one. Files that appear late with an older time (a slow multipart
#: upload, which S3 dates by its beginning; a file moved in with its times) are new as long as no more came meanwhile.
_REMEMBERED = 1000
_PART_BYTES = 64 << 20
#: Twice this makes no more than 1000 partitions, row-group ranges included.
_PARTS = 450


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a pattern for whole keys: ``*`` and ``?`` within a name, ``**`` over folders, ``[a-z]``, ``{a,b}``."""
    out, i, depth = [], 0, 0
    while i < len(glob):
        char = glob[i]
        if glob.startswith("**/", i):
            out.append("(?:.*/)?")
            i += 3
            continue
        if glob.startswith("**", i):
            out.append(".*")
            i += 2
            continue
        end = glob.find("]", i + 2) if char == "[" else -1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif end > 0:
            inner = glob[i + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[^/{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]")
            i = end
        elif char == "{" and "}" in glob[i:]:
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(char))
        i += 1
    return re.compile("".join(out) + (")" * depth), re.DOTALL)


def fixed_prefix(glob: str) -> str:
    """What every match of a glob begins with: narrows the listing."""
    return re.split(r"[*?\[{]", glob, maxsplit=1)[0]


def listed(store: ObjectStore, globs: Sequence[str]) -> list[ObjectInfo]:
    """The files of a stream, oldest first. Empty files, hidden ones and ours are no part of it."""
    found: dict[str, ObjectInfo] = {}
    for glob in globs:
        pattern = glob_pattern(glob)
        for info in store.list(fixed_prefix(glob)):
            if info.size and pattern.fullmatch(info.key) and not _hidden(info.key):
                found[info.key] = info
    return sorted(found.values(), key=lambda f: (f.modified, f.key))


def _hidden(key: str) -> bool:
    return any(part.startswith(".") or part == "_syncline" for part in key.split("/"))


def position_after(files: Sequence[ObjectInfo]) -> dict[str, Any]:
    """The position that holds once ``files`` (all of the stream, oldest first) are read.

    ``mtime``: time of the newest. ``since``: files older than this are known; None when all files are in ``keys``.
    ``keys``: file -> ETag of the newest ones, all those of the time ``since`` among them.
    """
    kept = list(files[-_REMEMBERED:])
    since = None
    if len(kept) < len(files):
        since = kept[0].modified
        kept = [f for f in files if f.modified >= since]
    return {
        "kind": "files",
        "mtime": _iso(files[-1].modified) if files else None,
        "since": _iso(since) if since else None,
        "keys": {f.key: f.etag for f in kept},
    }


def is_new(file: ObjectInfo, position: Mapping[str, Any]) -> bool:
    """Whether a file came, or changed, after a position."""
    since, keys = position.get("since"), position["keys"]
    if file.key in keys:
        return bool(keys[file.key] != file.etag)
    return since is None or file.modified >= datetime.fromisoformat(since)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """A file, or a range of its row groups (``start`` included, ``stop`` not), as it was when the plan was made."""

    key: str
    size: int
    etag: str
    start: int = 0
    stop: int = -1

    @property
    def whole(self) -> bool:
        return self.stop < 0

    def to_json(self) -> list[Any]:
        """A list, since a plan may hold very many."""
        return [self.key, self.size, self.etag, *([] if self.whole else [self.start, self.stop])]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> FilePart:
        key, size, etag, start, stop = (*data, 0, -1)[:5]
        return cls(key=key, size=size, etag=etag, start=start, stop=stop)


def parts_of(files: Sequence[ObjectInfo], row_groups: Any) -> Iterator[list[FilePart]]:
    """Cut files into partitions of about 64 MiB: small files together, large ones by their row groups.

    ``row_groups`` is called with a large file and gives the compressed sizes of its row groups, or none when the file
    cannot be split.
    """
    target = max(_PART_BYTES, sum(f.size for f in files) // _PARTS)
    group: list[FilePart] = []
    size = 0
    for file in files:
        sizes = row_groups(file) if file.size >= 2 * target else ()
        if len(sizes) > 1:
            yield from ([part] for part in _ranges(file, sizes, target))
            continue
        group.append(FilePart(key=file.key, size=file.size, etag=file.etag))
        size += file.size
        if size >= target:
            yield group
            group, size = [], 0
    if group:
        yield group


def _ranges(file: ObjectInfo, sizes: Sequence[int], target: int) -> Iterator[FilePart]:
    start = size = 0
    for number, each in enumerate(sizes):
        size += each
        if size >= target or number == len(sizes) - 1:
            yield FilePart(key=file.key, size=file.size, etag=file.etag, start=start, stop=number + 1)
            start, size = number + 1, 0
