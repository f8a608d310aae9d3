"""``syncline jobs``: ask a server for jobs, look at them, cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncline.cli.options import JsonOption, UrlOption

if TYPE_CHECKING:
    from syncline.cli.client import Client

__all__ = ["app", "connections_app"]

app = typer.Typer(help="Jobs of a server.", no_args_is_help=True)
connections_app = typer.Typer(help="Connections of a server.", no_args_is_help=True)

JobArgument = Annotated[int, typer.Argument(metavar="JOB", help="The job's number.")]
ConnectionArgument = Annotated[str, typer.Argument(metavar="CONNECTION", help="The connection's id or name.")]


@connections_app.command("list")
def list_connections(as_json: JsonOption = False, url: UrlOption = None) -> None:
    """List connections with their schedule and last job."""
    from syncline.cli.client import connect
    from syncline.cli.output import print_json, table

    client = connect(url)
    found = _all(client, "/v1/connections")
    if as_json:
        print_json(found)
        return
    rows = []
    for each in found:
        last = client.get("/v1/jobs", connectionId=each["connectionId"], limit=1)["data"]
        schedule = each["schedule"]
        when = schedule.get("cronExpression") or schedule.get("basicTiming") or schedule["scheduleType"]
        job = f"{last[0]['jobId']} {last[0]['status']}" if last else "-"
        rows.append([each["connectionId"], each["name"], each["status"], when, job])
    table(["ID", "NAME", "STATUS", "SCHEDULE", "LAST JOB"], rows)


@connections_app.command("sync")
def sync(
    connection: ConnectionArgument,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for the end; exit code 1 unless it succeeds.")
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Start a sync."""
    _start(connection, "sync", wait, as_json, url)


@connections_app.command("clear")
def clear(
    connection: ConnectionArgument,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for the end; exit code 1 unless it succeeds.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Empty the connection's streams at the destination and forget how far they were read."""
    if not yes:
        typer.confirm(f"Delete what connection {connection} has written to its destination?", abort=True)
    _start(connection, "clear", wait, as_json, url)


@app.command("list")
def list_jobs(
    connection: Annotated[str | None, typer.Option("--connection", "-c", help="Only of this connection.")] = None,
    status: Annotated[
        str | None, typer.Option(help="pending, running, incomplete, failed, succeeded, cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List jobs, newest first."""
    from syncline.cli.client import connect
    from syncline.cli.output import human_bytes, print_json, table

    client = connect(url)
    number = None if connection is None else _connection(client, connection)["connectionId"]
    found = client.get("/v1/jobs", connectionId=number, status=status, limit=limit)["data"]
    if as_json:
        print_json(found)
        return
    header = ["JOB", "TYPE", "STATUS", "STARTED", "ROWS", "SIZE", "CONNECTION"]
    rows = [
        [
            str(job["jobId"]),
            job["jobType"],
            job["status"],
            job["startTime"],
            f"{job.get('rowsSynced', 0):,}",
            human_bytes(job.get("bytesSynced", 0)),
            job["connectionId"],
        ]
        for job in found
    ]
    table(header, rows)


@app.command("show")
def show(job: JobArgument, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Show a job with its attempts and their streams."""
    from syncline.cli.client import connect
    from syncline.cli.output import print_json, table

    detail = connect(url).post("/api/v1/jobs/get_without_logs", {"id": job})
    if as_json:
        print_json(detail)
        return
    print(f"job {job}: {detail['jobType']} {detail['status']}, connection {detail['connectionId']}")
    rows = []
    for each in detail["attempts"]:
        attempt = each["attempt"]
        for failure in attempt.get("failureSummary", {}).get("failures", []):
            print(f"  attempt {attempt['id'] + 1}: {failure['externalMessage']}")
        for stream in attempt.get("streamStats", []):
            name = ".".join(p for p in (stream.get("streamNamespace"), stream["streamName"]) if p)
            stats = stream["stats"]
            counts = [f"{stats.get(key) or 0:,}" for key in ("recordsEmitted", "recordsCommitted")]
            rows.append([str(attempt["id"] + 1), attempt["status"], name, *counts])
    if rows:
        table(["ATTEMPT", "STATUS", "STREAM", "READ", "WRITTEN"], rows)


@app.command("wait")
def wait_for(job: JobArgument, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Wait until a job has ended; exit code 0 only if it succeeded."""
    from syncline.cli.client import connect

    _wait(connect(url), job, as_json)


@app.command("cancel")
def cancel(job: JobArgument, as_json: JsonOption = False, url: UrlOption = None) -> None:
    """Stop a job. What it has committed stays; the next one goes on there."""
    from syncline.cli.client import connect

    _tell(connect(url).delete(f"/v1/jobs/{job}"), as_json)


def _start(name: str, kind: str, wait: bool, as_json: bool, url: str | None) -> None:
    from syncline.cli.client import connect

    client = connect(url)
    found = _connection(client, name)
    job = client.post("/v1/jobs", {"connectionId": found["connectionId"], "jobType": kind})
    if wait:
        _wait(client, job["jobId"], as_json)
    else:
        _tell(job, as_json)


def _wait(client: Client, job: int, as_json: bool) -> None:
    import time

    while (found := client.get(f"/v1/jobs/{job}"))["status"] in ("pending", "running", "incomplete"):
        time.sleep(1)
    _tell(found, as_json)
    if found["status"] != "succeeded":
        raise typer.Exit(1)


def _tell(job: dict[str, Any], as_json: bool) -> None:
    from syncline.cli.output import print_json

    if as_json:
        print_json(job)
    else:
        print(f"job {job['jobId']}: {job['jobType']} {job['status']}, {job.get('rowsSynced', 0):,} rows")


def _connection(client: Client, name: str) -> dict[str, Any]:
    """By id or name. ``config`` error with the nearest name when there is none, or several have it."""
    from syncline.core.errors import ErrorKind, SynclineError, nearest

    known = _all(client, "/v1/connections")
    found = [each for each in known if name in (each["connectionId"], each["name"])]
    if len(found) != 1:
        near = nearest(name, [each["name"] for each in known])
        raise SynclineError(
            ErrorKind.CONFIG,
            f"there is no connection {name!r}" if not found else f"several connections are named {name!r}",
            hint=f"did you mean {near!r}?" if near and not found else "see: syncline connections list",
        )
    return found[0]


def _all(client: Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = client.get(path, limit=100, offset=len(found))
        found += page["data"]
        if not page.get("next"):
            return found
