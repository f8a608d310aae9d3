"""Use case: the beginning of a connector of one's own: files that work and pass their test as they stand."""

from __future__ import annotations

import re
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.connector import connectors

__all__ = ["FORMS", "scaffold"]

_TEMPLATES = Path(__file__).with_name("templates")
FORMS = tuple(sorted(path.name for path in _TEMPLATES.iterdir() if any(path.rglob("*.tmpl"))))
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def scaffold(name: str, form: str, folder: Path) -> list[Path]:
    """Write the files of a form into a new folder; which they are. Raises ``config`` before anything is written."""
    if form not in FORMS:
        raise SynclineError(ErrorKind.CONFIG, f"there is no form {form!r}", hint=f"one of {', '.join(FORMS)}")
    if not _NAME.fullmatch(name):
        raise SynclineError(
            ErrorKind.CONFIG, f"{name!r} is no name for a connector", hint="small letters, digits and -: my-api"
        )
    role = "destination" if form == "destination" else "source"
    if form != "manifest" and name in connectors("destination" if role == "destination" else "source"):
        raise SynclineError(ErrorKind.CONFIG, f"there is a {role} {name} already", hint="choose another name")
    if folder.exists() and any(folder.iterdir()):
        raise SynclineError(ErrorKind.CONFIG, f"{folder} is not empty", hint="give another with --folder")
    module = name.replace("-", "_")
    words = {
        "__name__": name,
        "__module__": module,
        "__Class__": "".join(word.capitalize() for word in name.split("-")),
    }
    written = []
    root = _TEMPLATES / form
    for template in sorted(root.rglob("*.tmpl")):
        inner = template.relative_to(root).as_posix().removesuffix(".tmpl")
        text = template.read_text(encoding="utf-8")
        for word, value in words.items():
            inner, text = inner.replace(word, value), text.replace(word, value)
        path = folder / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
