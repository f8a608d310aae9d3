"""Steps after a sync: read from a project file, and what of them a server runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.transform.step import TransformStep, parse_steps
from syncline.service.programs import ensure_programs_allowed
from syncline.settings import JobSettings

__all__ = ["allowed_steps", "steps_json"]

#: A file of statements, not a dump.
_MOST_BYTES = 4 << 20


def steps_json(items: Sequence[Any], folder: Path, where: str) -> tuple[dict[str, Any], ...]:
    """The items as steps in JSON: SQL files are read, folders of dbt and of commands made whole, both from ``folder``
    on. ``where`` is said in errors."""
    try:
        steps = parse_steps(items, lambda name: _text_of(folder / name))
    except SynclineError as error:
        raise SynclineError(error.kind, f"{where}: {error.message}", hint=error.hint, where=error.where) from error
    return tuple({**s.to_json(), "options": _placed(s, folder)} for s in steps)


def allowed_steps(steps: Sequence[Mapping[str, Any]], settings: JobSettings) -> tuple[Mapping[str, Any], ...]:
    """The steps, for a server: programs run only where its operator says so. Raises ``permission``."""
    local = [s["name"] for s in steps if TransformStep.from_json(s).local]
    if local:
        ensure_programs_allowed(f"step {local[0]!r}", settings, "sql, http and databricks")
    return tuple(steps)


def _placed(step: TransformStep, folder: Path) -> dict[str, Any]:
    """Folders are those beside the project file, whatever the process's own is."""
    options = dict(step.options)
    for key in ("project", "profiles", "folder"):
        if isinstance(options.get(key), str):
            options[key] = str((folder / options[key]).resolve())
    executable = options.get("executable")
    if isinstance(executable, str) and "/" in executable:
        # Not resolved: the link in an environment is what makes it one.
        options["executable"] = str((folder / executable).absolute())
    if step.kind == "command" and "folder" not in options:
        options["folder"] = str(folder.resolve())
    return options


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        if len(data) > _MOST_BYTES:
            raise SynclineError(ErrorKind.CONFIG, f"transforms: {path} has more than 4 MiB", hint="split it")
        return data.decode()
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"transforms: {path} cannot be read: {error.strerror}",
            hint="paths begin at the project file",
        ) from error
    except UnicodeDecodeError as error:
        raise SynclineError(ErrorKind.CONFIG, f"transforms: {path} is not UTF-8 text", hint="save it again") from error
