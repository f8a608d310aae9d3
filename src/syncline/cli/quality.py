"""``syncline quality``: what the gates found, and what becomes of rows that they hold back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

if TYPE_CHECKING:
    from syncline.service.quality import StreamQuality

__all__ = ["app"]

app = typer.Typer(
    help="Quality gates: what they found, and what becomes of rows that they hold back.", no_args_is_help=True
)

StreamsOption = Annotated[
    list[str] | None, typer.Option("--stream", "-s", help="A stream (repeat for several; default: all).")
]


@app.command()
def show(
    file: FileArgument, connection: ConnectionOption = None, stream: StreamsOption = None, as_json: JsonOption = False
) -> None:
    """Show the last verdicts of each stream's gates, and where rows lie that were not published."""
    from syncline.service.project import load_project
    from syncline.service.quality import read_quality
    from syncline.settings import load_settings

    settings = load_settings()
    _print({c.label: read_quality(c, settings, stream or None) for c in load_project(file).only(connection)}, as_json)


@app.command()
def replay(
    file: FileArgument, connection: ConnectionOption = None, stream: StreamsOption = None, as_json: JsonOption = False
) -> None:
    """Judge staged rows again by the gates as they are now, and publish what passes. The source is not read."""
    from syncline.cli.progress import make_progress
    from syncline.service.project import load_project
    from syncline.service.quality import replay_held_back
    from syncline.settings import load_settings

    found = {}
    for item in load_project(file).only(connection):
        with make_progress(item.label, quiet=as_json, debug=False) as emit:
            found[item.label] = replay_held_back(item, load_settings(), stream or None, emit)
    _end(found, as_json, "published")


@app.command()
def publish(
    file: FileArgument,
    stream: Annotated[list[str], typer.Option("--stream", "-s", help="The stream (repeat for several).")],
    connection: ConnectionOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish staged rows although they break gates."""
    from syncline.cli.progress import make_progress
    from syncline.service.project import load_project
    from syncline.service.quality import publish_held_back
    from syncline.settings import load_settings

    chosen = load_project(file).only(connection)
    if not yes:
        typer.confirm(f"Publish {', '.join(stream)} of {', '.join(c.label for c in chosen)} as it is?", abort=True)
    found = {}
    for item in chosen:
        with make_progress(item.label, quiet=as_json, debug=False) as emit:
            found[item.label] = publish_held_back(item, load_settings(), stream, emit)
    _end(found, as_json, "published")


def _end(found: dict[str, list[StreamQuality]], as_json: bool, done: str) -> None:
    from syncline.cli.output import print_error, print_json

    errors = [s.error for streams in found.values() for s in streams if s.error is not None]
    if as_json:
        print_json({name: [s.to_json() for s in streams] for name, streams in found.items()})
    else:
        for name, streams in found.items():
            if not streams:
                print(f"{name}: nothing is held back")
            for each in streams:
                if each.error is None:
                    print(f"{name}: {each.stream}: {done}")
        for error in errors:
            print_error(error)
    if errors:
        raise typer.Exit(errors[0].policy.exit_code)


def _print(found: dict[str, list[StreamQuality]], as_json: bool) -> None:
    from syncline.cli.output import print_json, table

    if as_json:
        print_json({name: [s.to_json() for s in streams] for name, streams in found.items()})
        return
    for name, streams in found.items():
        print(f"{name}:")
        rows = []
        for each in streams:
            if not each.results:
                rows.append([each.stream, "-", "not judged yet" if each.gates else "no gates", "-", "-"])
            for result in each.results:
                status = f"{result['status']}" if result["status"] != "blocked" else "BLOCKED"
                rows.append([each.stream, result["gate"], status, result["observed"], result["expected"]])
        table(["STREAM", "GATE", "STATUS", "OBSERVED", "EXPECTED"], rows)
        for each in streams:
            if each.blocked is not None:
                place = f"; its rows lie in {each.blocked['place']}" if each.blocked["place"] else ""
                reason = str(each.blocked["reason"]).removeprefix("not published: ")
                print(f"{each.stream} is held back since {each.blocked['since']}: {reason}{place}")
                if each.blocked.get("log"):
                    print(f"  next: mend the rows or the gates, then syncline state reset FILE --stream {each.stream}")
                    continue
                print(f"  next: syncline quality replay FILE -s {each.stream}, after a fix; or sync again to read anew")
