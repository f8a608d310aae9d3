"""Where a low-code manifest comes from: a file, or the configuration itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.low_code import checked_manifest

__all__ = ["load_manifest"]


def load_manifest(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """From a path, or as it is. Raises ``config`` for what is no manifest, or one that needs code."""
    return checked_manifest(_read(Path(given).expanduser()) if isinstance(given, str) else given)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SynclineError(
            ErrorKind.CONFIG, f"the manifest {path} cannot be read: {reason}", hint="check the path"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise SynclineError(
            ErrorKind.CONFIG, f"the manifest {path} is not valid YAML{place}", hint="check the indentation there"
        ) from None
    if not isinstance(found, dict):
        raise SynclineError(ErrorKind.CONFIG, f"the manifest {path} holds no mapping", hint="is it the right file?")
    return found
