"""``syncline logs``: the log of a job, at once or as it is written."""

from __future__ import annotations

from typing import Annotated

import typer

from syncline.cli.options import JsonOption, UrlOption

__all__ = ["logs"]


def logs(
    job: Annotated[int, typer.Argument(metavar="JOB", help="The job's number.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    level: Annotated[str | None, typer.Option(help="Only this level and above: DEBUG, INFO, WARN, ERROR.")] = None,
    stream: Annotated[str | None, typer.Option("--stream", "-s", help="Only of this stream.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only of this attempt.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Print the log of a job. With --json as JSON lines, as they lie on disk."""
    from syncline.cli.client import connect

    client = connect(url)
    if not follow:
        query = {"level": level.upper() if level else None, "stream": stream, "attempt": attempt, "tail": 100_000}
        for line in client.get(f"/api/syncline/v1/jobs/{job}/logs", **query)["lines"]:
            _print(line, as_json)
        return
    _follow(client, job, level, stream, attempt, as_json)


def _follow(
    client: object, job: int, level: str | None, stream: str | None, attempt: int | None, as_json: bool
) -> None:
    import time

    from syncline.cli.client import Client
    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.jobs.log_lines import LEVELS

    assert isinstance(client, Client)
    if level is not None and level.upper() not in LEVELS:
        raise SynclineError(ErrorKind.CONFIG, f"there is no level {level!r}", hint=f"known: {', '.join(LEVELS)}")
    wanted = LEVELS[LEVELS.index(level.upper()) :] if level else LEVELS
    cursor: str | None = None
    broken = 0
    while True:
        try:
            for event, number, data in client.stream(f"/api/syncline/v1/jobs/{job}/logs/stream", cursor):
                cursor, broken = number or cursor, 0
                if event == "end":
                    raise typer.Exit(0 if data.get("status") == "succeeded" else 1)
                fits = stream is None or stream in (data.get("stream"), str(data.get("stream")).rpartition(".")[2])
                if event == "log" and data["level"] in wanted and fits and attempt in (None, data["attempt"]):
                    _print(data, as_json)
        except SynclineError as error:
            broken += 1
            if error.kind not in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE) or broken > 30:
                raise
        time.sleep(1)  # the server is being restarted; the cursor says where it goes on


def _print(line: dict[str, object], as_json: bool) -> None:
    import json

    from syncline.jobs.log_lines import LogLine

    if as_json:
        print(json.dumps(line, ensure_ascii=False), flush=True)
    else:
        print(LogLine.from_json(line).text(), flush=True)
