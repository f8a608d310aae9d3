"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConnectionOption", "FileArgument", "JsonOption", "ServerOption", "UrlOption", "WorkspaceOption"]

FileArgument = Annotated[Path, typer.Argument(help="The project file (YAML).", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConnectionOption = Annotated[
    str | None, typer.Option("--connection", "-c", help="One connection of the file (default: all).", metavar="NAME")
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="The server's address (SYNCLINE_URL; default http://127.0.0.1:8000).", show_default=False
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        "--url",
        help="The server's address (SYNCLINE_URL; default http://127.0.0.1:8000).",
        show_default=False,
    ),
]
WorkspaceOption = Annotated[
    str | None, typer.Option("--workspace", help="The workspace's id (default: the only one).", metavar="ID")
]
