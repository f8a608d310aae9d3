"""Writes the generated pages of docs/: connectors, command line, exit codes, types, and the JSON Schema of the file.

Run by ``make docs``; a test compares what it would write with what is there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import typer

from syncline.cli.main import app
from syncline.core.errors import POLICY, ErrorKind
from syncline.sdk.connector import ConnectorSpec, Role, connectors
from syncline.service.project import project_json_schema
from syncline.testing.type_matrix import matrix_page

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py (make docs); change the code it describes. -->\n\n"

KINDS = {
    ErrorKind.CONFIG: "a person must change a setting: unknown key, unknown stream, refused mode, missing variable",
    ErrorKind.AUTH: "wrong or expired credentials",
    ErrorKind.PERMISSION: "a known user lacks a right; the message holds the statement or the IAM actions to grant",
    ErrorKind.UNREACHABLE: "no connection could be made: host, port, firewall, endpoint",
    ErrorKind.TRANSIENT: "may pass by itself: a lost connection, a timeout, a killed process",
    ErrorKind.DATA: "a record that cannot be kept and may not be set aside",
    ErrorKind.SCHEMA: "a stream's shape changed in a way that needs a decision; the other streams finish",
    ErrorKind.RESOURCE: "memory, disk or a quota is used up, or a transaction would grow older than allowed",
    ErrorKind.CONFLICT: "somebody else holds it or changed it: another run, a newer token, a locked file",
    ErrorKind.INTERNAL: "a defect of Syncline; please report it with the journal",
}


def pages() -> Iterator[tuple[str, str]]:
    """Every generated page as (path below docs/, text)."""
    yield "exit-codes.md", _exit_codes()
    yield "cli.md", _command_line()
    yield "types.md", NOTE + matrix_page()
    yield "syncline.schema.json", json.dumps(project_json_schema(), indent=2) + "\n"
    by_name: dict[str, list[ConnectorSpec]] = {}
    for role in get_args(Role):
        for spec in connectors(role).values():
            by_name.setdefault(spec.name, []).append(spec)
    for name, specs in sorted(by_name.items()):
        yield f"connectors/{name}.md", _connector(name, specs)


def _exit_codes() -> str:
    lines = [NOTE + "# Exit codes and error kinds\n"]
    lines.append("Every error has a kind, one sentence of what happened, where, and what to do next.\n")
    lines.append("| exit code | kind | meaning | tried again | HTTP |\n| --- | --- | --- | --- | --- |")
    lines.append("| 0 | | done; for `verify`: every stream is equal | | |")
    lines.append("| 1 | | `verify`: not equal | | |")
    lines.append("| 2 | | wrong usage of the command line | | |")
    for kind, policy in POLICY.items():
        again = "yes" if policy.retry else "no"
        lines.append(f"| {policy.exit_code} | `{kind.value}` | {KINDS[kind]} | {again} | {policy.http_status} |")
    lines.append("| 130 | | interrupted from the keyboard | | |")
    return "\n".join(lines) + "\n"


def _command_line() -> str:
    root = typer.main.get_command(app)
    lines = [NOTE + "# Command line\n"]
    _describe(root, "syncline", lines)
    return "\n".join(lines) + "\n"


def _describe(command: Any, path: str, lines: list[str]) -> None:
    commands: Mapping[str, Any] = getattr(command, "commands", {})
    if not commands:
        lines.append(f"## `{path}`\n\n{(command.help or '').strip()}\n")
        rows = []
        for parameter in command.params:
            names = ", ".join(f"`{o}`" for o in parameter.opts)
            if parameter.param_type_name == "argument":
                names = f"`{parameter.metavar or parameter.name.upper()}`"
            text = (getattr(parameter, "help", None) or "").strip()
            rows.append(f"| {names} | {text} |")
        if rows:
            lines.append("| | |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    for name, child in commands.items():
        _describe(child, f"{path} {name}", lines)


def _connector(name: str, specs: list[ConnectorSpec]) -> str:
    lines = [NOTE + f"# {specs[0].title}\n"]
    hand_written = HERE / "connectors" / f"_{name}.md"
    if hand_written.exists():
        lines.append(hand_written.read_text(encoding="utf-8"))
    for spec in specs:
        extra = f"`pip install 'syncline[{spec.extra}]'`" if spec.extra else "part of the core install"
        lines.append(f"## As a {spec.role}\n\n{spec.summary.rstrip('.')}. Type `{spec.name}`; {extra}.\n")
        lines.append("| setting | type | default | meaning |\n| --- | --- | --- | --- |")
        schema = spec.config_model().model_json_schema(by_alias=False)
        lines += [_setting(spec, key, value, schema) for key, value in schema.get("properties", {}).items()]
        lines.append("")
    return "\n".join(lines) + "\n"


def _setting(spec: ConnectorSpec, key: str, value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    info = spec.config_model().model_fields[key]
    others = [str(c) for c in getattr(info.validation_alias, "choices", []) if str(c) != key]
    names = f"`{key}`" + (f" (also {', '.join(f'`{o}`' for o in others)})" if others else "")
    default = "required" if key in schema.get("required", []) else f"`{json.dumps(value.get('default'))}`"
    text = str(value.get("description", "")).replace("\n", " ").replace("|", "\\|")
    return f"| {names} | {_type(value)} | {default} | {text} |"


def _type(value: Mapping[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{v}`" for v in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value or "oneOf" in value:
        parts = [_type(v) for v in value.get("anyOf", value.get("oneOf", [])) if v.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if "$ref" in value:
        return "`" + str(value["$ref"]).rsplit("/", 1)[-1] + "`"
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    return str(value.get("type", "any"))


def main() -> int:
    """Write what has changed; with ``--check`` only name it. The exit code is 1 when a check found something."""
    stale = 0
    for path, text in pages():
        target = HERE / path
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in sys.argv:
            sys.stdout.write(f"docs/{path} is not current\n")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote docs/{path}\n")
    return int(stale > 0 and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
