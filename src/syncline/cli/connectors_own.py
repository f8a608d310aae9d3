"""``syncline connectors new`` and ``test``: for those who write connectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syncline.cli.options import JsonOption

__all__ = ["conform", "new"]


def new(
    name: Annotated[str, typer.Argument(help="Name of the connector: small letters, digits and -.")],
    form: Annotated[str, typer.Option(help="python-source, manifest or destination.")] = "python-source",
    folder: Annotated[Path | None, typer.Option(help="Where to put it (default: a folder of that name here).")] = None,
) -> None:
    """Write the beginning of a connector, with its test, into a new folder."""
    from syncline.service.scaffold import scaffold

    target = folder or Path(name)
    for path in scaffold(name, form, target):
        print(path)
    print(f"\nNext: read {target}/README.md")


def conform(
    path: Annotated[Path, typer.Argument(help="Folder of a connector with tests, or a YAML file with a source.")],
    streams: Annotated[int, typer.Option(help="Of a YAML file's source: try so many streams.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Run the conformance suite: a connector's own tests, or what can be tried of any configured source."""
    import subprocess
    import sys

    from syncline.cli.output import print_json
    from syncline.core.errors import ErrorKind, SynclineError

    if not path.exists():
        raise SynclineError(ErrorKind.CONFIG, f"there is no {path}", hint="give a connector's folder or a YAML file")
    if path.suffix not in (".yaml", ".yml"):
        raise typer.Exit(subprocess.run([sys.executable, "-m", "pytest", "-q", str(path)], check=False).returncode)
    from syncline.service.conformance import probe, source_in

    findings = []
    for finding in probe(source_in(path), streams=streams):
        findings.append(finding)
        if not as_json:
            print(f"{'ok  ' if finding.good else 'FAIL'}  {finding.stream or 'source':30} {finding.what}")
            if finding.problem:
                print(f"      {finding.problem}")
    if as_json:
        print_json([f.to_json() for f in findings])
    if any(not f.good for f in findings):
        raise typer.Exit(1)
