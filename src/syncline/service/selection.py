"""Picking streams of a connection by the names that a person types."""

from __future__ import annotations

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.stream import SelectedStream

__all__ = ["named_streams"]


def named_streams(selection: list[SelectedStream], names: list[str] | None) -> list[SelectedStream]:
    """Those of ``selection`` that ``names`` name, as ``table`` or ``schema.table``; all when None or empty.
    ``config`` error for an unknown or ambiguous name."""
    if not names:
        return selection
    found = []
    for name in names:
        matches = [s for s in selection if s.called(name)]
        if len(matches) != 1:
            near = nearest(name, [str(s.name) for s in selection])
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the connection takes no stream {name!r}" if not matches else f"stream {name!r} is ambiguous",
                hint=f"did you mean {near!r}?" if near else "see: syncline state show",
            )
        found.append(matches[0])
    return found
