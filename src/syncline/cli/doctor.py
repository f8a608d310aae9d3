"""``syncline doctor`` and ``syncline diagnose``: is this machine fit, and why did that run fail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from syncline.cli.options import ConnectionOption, JsonOption, UrlOption

__all__ = ["diagnose", "doctor"]


def doctor(as_json: JsonOption = False) -> None:
    """Look at versions, native code, disks, memory, clock, store and port. Exit code 1 when something is wrong."""
    from syncline.cli.output import print_json
    from syncline.service.doctor import examine
    from syncline.settings import load_settings

    marks = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}
    looks = []
    for look in examine(load_settings()):
        looks.append(look)
        if not as_json:
            print(f"{marks[look.state]}  {look.area}: {look.sentence}")
            if look.next:
                print(f"      next: {look.next}")
    if as_json:
        print_json([look.to_json() for look in looks])
    if any(look.state == "error" for look in looks):
        raise typer.Exit(1)


def diagnose(
    what: Annotated[
        str, typer.Argument(metavar="JOB|FILE", help="A job's number on a server, or a project file (its last run).")
    ],
    connection: ConnectionOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Say why a run failed: the cause, what it was seen in, and the commands that find out more and mend it."""
    from syncline.cli.output import print_json

    reports = _of_server(int(what), url) if what.isdecimal() else _of_file(Path(what), connection)
    if as_json:
        print_json(reports if len(reports) != 1 else reports[0])
        return
    for report in reports:
        _print(report)


def _of_server(job: int, url: str | None) -> list[dict[str, Any]]:
    from syncline.cli.client import connect

    found = connect(url).get(f"/api/syncline/v1/jobs/{job}/diagnosis")
    return [{"connection": f"job {job}", "run": str(job), **found}]


def _of_file(path: Path, connection: str | None) -> list[dict[str, Any]]:
    from syncline.service.diagnosis import of_last_run
    from syncline.service.project import load_project
    from syncline.settings import load_settings

    settings = load_settings()
    return [of_last_run(each, settings).to_json() for each in load_project(path).only(connection)]


def _print(report: dict[str, Any]) -> None:
    print(f"{report['connection']}: run {report['run']}: {report['status']}")
    error = report.get("error")
    if error:
        print(f"  error ({error['kind']}): {error['message']}")
        if error.get("hint"):
            print(f"  next: {error['hint']}")
    for number, each in enumerate(report["diagnoses"], start=1):
        print(f"\n  {number}. {each['name']}: {each['because']}")
        print(f"     seen in: {each['evidence']}")
        for command in each["commands"]:
            print(f"     $ {command}")
    if not report["diagnoses"] and report["status"] != "succeeded":
        print("  This is not in the table of known causes; the error's own words are all there is.")
