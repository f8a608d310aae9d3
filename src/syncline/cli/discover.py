"""``syncline discover``: what the source offers."""

from __future__ import annotations

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

__all__ = ["discover"]


def discover(file: FileArgument, connection: ConnectionOption = None, as_json: JsonOption = False) -> None:
    """List the streams that the source of each connection offers: columns, keys, cursors, estimated rows."""
    from syncline.cli.output import print_json, table
    from syncline.service.discover import discover_catalog
    from syncline.service.project import load_project
    from syncline.settings import load_settings

    found = {item.name: discover_catalog(item, load_settings()) for item in load_project(file).only(connection)}
    if as_json:
        print_json({name: catalog.to_json() for name, catalog in found.items()})
        return
    for name, catalog in found.items():
        print(f"{name}: {len(catalog.streams)} streams")
        rows = [
            [
                str(s.name),
                s.kind,
                f"{s.estimated_rows:,}" if s.estimated_rows >= 0 else "?",
                ", ".join(s.primary_key) or "-",
                "source-defined" if s.source_defined_cursor else ", ".join(s.cursor_fields[:3]) or "-",
                str(len(s.schema.fields)),
            ]
            for s in catalog.streams
        ]
        table(["STREAM", "KIND", "ROWS", "KEY", "CURSORS", "COLUMNS"], rows)
