"""``syncline check``: can the connections of a file sync?"""

from __future__ import annotations

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

__all__ = ["check"]


def check(file: FileArgument, connection: ConnectionOption = None, as_json: JsonOption = False) -> None:
    """Look at both ends of each connection: reachable, allowed, fit. Says what is missing and what mends it."""
    from syncline.cli.output import print_error, print_json
    from syncline.sdk.findings import Severity
    from syncline.service.check import check_connection
    from syncline.service.project import load_project
    from syncline.settings import load_settings

    reports = [check_connection(item, load_settings()) for item in load_project(file).only(connection)]
    if as_json:
        print_json(
            [
                {
                    "connection": r.connection,
                    "ok": r.ok,
                    "source": [f.to_json() for f in r.source],
                    "destination": [f.to_json() for f in r.destination],
                    "error": r.error.to_json() if r.error else None,
                }
                for r in reports
            ]
        )
    else:
        marks = {Severity.OK: "ok  ", Severity.WARNING: "warn", Severity.ERROR: "FAIL"}
        for report in reports:
            print(f"{report.connection}:")
            for role, findings in (("source", report.source), ("destination", report.destination)):
                for f in findings:
                    place = f"{f.stream}: " if f.stream and f.stream not in f.message else ""
                    print(f"  {marks[f.severity]} {role}: {place}{f.message}")
                    if f.hint:
                        print(f"         next: {f.hint}")
            if report.error is not None:
                print_error(report.error)
    bad = next((r for r in reports if not r.ok), None)
    if bad is not None:
        raise typer.Exit(_code(bad))


def _code(report: object) -> int:
    from syncline.core.errors import POLICY, ErrorKind
    from syncline.sdk.findings import Severity
    from syncline.service.check import CheckReport

    assert isinstance(report, CheckReport)
    if report.error is not None:
        return report.error.policy.exit_code
    first = next(f for f in (*report.source, *report.destination) if f.severity is Severity.ERROR)
    return POLICY[first.kind or ErrorKind.CONFIG].exit_code
