"""A step after a sync as a value, read from what a person wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError, nearest

__all__ = ["KINDS", "TransformStep", "parse_steps", "step_error"]

#: An hour: long for a statement, short for a day.
_TIMEOUT = 3600.0


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """``short``: the option that a bare text or list stands for. ``local``: it runs a program on the machine of the
    attempt."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    short: str = ""
    local: bool = False


KINDS: Mapping[str, _Kind] = {
    "sql": _Kind(required=("script",), short="file"),
    "command": _Kind(required=("arguments",), optional=("env", "folder"), short="arguments", local=True),
    "dbt": _Kind(
        required=("project",),
        optional=("command", "executable", "profiles", "target", "select", "variables", "env"),
        short="project",
        local=True,
    ),
    "http": _Kind(required=("url",), optional=("method", "headers", "body", "expect"), short="url"),
    "databricks": _Kind(required=("host", "token", "job_id"), optional=("parameters", "poll_seconds")),
}


@dataclass(frozen=True, kw_only=True)
class TransformStep:
    """``options`` are the kind's own; references to secrets in them stay references until the step runs."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = _TIMEOUT

    @property
    def local(self) -> bool:
        """Whether it runs a program on this machine."""
        return KINDS[self.kind].local

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "options": dict(self.options), "timeout": self.timeout}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TransformStep:
        return cls(name=data["name"], kind=data["kind"], options=data["options"], timeout=data["timeout"])


def step_error(message: str, *, hint: str = "") -> SynclineError:
    """A step that cannot be: for the person who wrote it."""
    return SynclineError(ErrorKind.CONFIG, f"transforms: {message}", hint=hint or "see docs/transforms.md")


def parse_steps(items: Sequence[Any], read_file: Callable[[str], str] | None = None) -> list[TransformStep]:
    """Steps from a list as it stands in a project file; each item names one kind. ``read_file`` gives the text of an
    SQL file, which then travels with the step; without it only ``script`` is taken. Raises ``config``."""
    steps = [_parse(item, place, read_file) for place, item in enumerate(items, start=1)]
    names = [s.name for s in steps]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise step_error(f"two steps are named {twice!r}", hint="give one of them another name: …")
    return steps


def _parse(item: Any, place: int, read_file: Callable[[str], str] | None) -> TransformStep:
    if not isinstance(item, Mapping):
        raise step_error(f"item {place} is no mapping: write for example {{sql: models/daily.sql}}")
    if {"kind", "options"} <= set(item):  # read before, as to_json() gives it
        item = {str(item["kind"]): item["options"], **{k: item[k] for k in ("name", "timeout") if k in item}}
    words = [k for k in item if k not in ("name", "timeout")]
    if len(words) != 1:
        raise step_error(f"item {place} must name one kind of step: {', '.join(KINDS)}")
    kind, value = words[0], item[words[0]]
    if kind not in KINDS:
        near = nearest(str(kind), list(KINDS))
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(KINDS)}"
        raise step_error(f"item {place}: unknown kind of step {kind!r}", hint=hint)
    about = KINDS[kind]
    options = dict(value) if isinstance(value, Mapping) else {about.short: value} if about.short else {}
    if kind == "sql" and "file" in options:
        if read_file is None:
            raise step_error(
                f"item {place}: a file can be named in a project file only", hint="give its text: script: …"
            )
        options = {**{k: v for k, v in options.items() if k != "file"}, "script": read_file(str(options["file"]))}
    for key in options:
        if key not in (*about.required, *about.optional):
            near = nearest(str(key), [*about.required, *about.optional])
            hint = f"did you mean {near!r}?" if near else f"it has: {', '.join([*about.required, *about.optional])}"
            raise step_error(f"item {place}: {kind} has no option {key!r}", hint=hint)
    for key in about.required:
        if options.get(key) in (None, "", []):
            raise step_error(f"item {place}: {kind} needs {key}")
    if kind == "command" and not _is_list_of_texts(options["arguments"]):
        raise step_error(
            f"item {place}: a command is a list of arguments, such as [python, jobs/after.py]",
            hint="there is no shell: a pipe or a wildcard would be an argument like any other",
        )
    if kind == "dbt" and not _is_list_of_texts(options.get("command", ["build"])):
        raise step_error(f"item {place}: command is a list such as [build], without the word dbt")
    timeout = item.get("timeout", _TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 7 * 86400:
        raise step_error(f"item {place}: timeout is a number of seconds, not {timeout!r}")
    return TransformStep(
        name=str(item.get("name") or f"{kind} {place}"), kind=kind, options=options, timeout=float(timeout)
    )


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, str) for v in value)
