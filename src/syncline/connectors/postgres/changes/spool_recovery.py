"""What a former process left in a spool's folder: whole files, a torn end, files of transactions not committed."""

from __future__ import annotations

from pathlib import Path

from syncline.connectors.postgres.changes.spool_folder import SpoolFolder
from syncline.connectors.postgres.changes.spool_segment import Segment, load_segment, seal_loaded
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["recover"]


def recover(folder: SpoolFolder) -> tuple[list[Segment], int]:
    """The files that follow each other without a gap, all sealed, and the LSN up to which they are known to be durable.

    What was written after the last known fsync is checked record by record; the log ends before the first that is not
    whole, and what lies behind goes. Raises ``conflict`` when that would cut into what was durable (nothing is deleted
    then): the source may have forgotten it.
    """
    mark = folder.durable
    segments: list[Segment] = []
    torn: list[Path] = []
    for sequence, path in folder.segments():
        found = None if torn else load_segment(sequence, path, folder.identity.bytes, check=sequence >= mark.sequence)
        if found is not None and segments:
            former = segments[-1]
            if not former.sealed or sequence != former.sequence + 1 or found.start != former.end:
                found = None
        if found is None or (sequence == mark.sequence and found.size < mark.offset):
            if sequence <= mark.sequence:
                raise _damaged(folder, path.name)
            torn.append(path)
        else:
            segments.append(found)
    if segments and segments[-1].end < mark.lsn:
        raise _damaged(folder, segments[-1].path.name)
    for path in (*folder.parts(), *torn):
        path.unlink()
    if segments and not segments[-1].sealed:
        if segments[-1].empty and len(segments) > 1:
            segments.pop().path.unlink()
        else:
            seal_loaded(segments[-1])
    return segments, mark.lsn if segments else 0


def _damaged(folder: SpoolFolder, name: str) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFLICT,
        "the spool is damaged: something is gone that was known to be on disk",
        hint="check the disk; delete the spool's folder, and the streams that had not yet applied its content must be "
        "copied again",
        where={"path": str(folder.path), "file": name},
    )
