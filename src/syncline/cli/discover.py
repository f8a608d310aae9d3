"""``syncline discover``: what the source offers, and what the connection's mappings make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.cli.options import ConnectionOption, FileArgument, JsonOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncline.core.stream import Catalog
    from syncline.service.mapping_preview import MappedPreview

__all__ = ["discover"]

#: A cell is cut here, so that a row of some columns fits on a screen.
_CELL = 32


def discover(
    file: FileArgument,
    connection: ConnectionOption = None,
    after_mappings: Annotated[
        bool,
        typer.Option(
            "--after-mappings", help="Show what the mappings make of each stream, with rows before and after."
        ),
    ] = False,
    rows: Annotated[int, typer.Option(min=0, max=100, help="Rows to show with --after-mappings.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """List the streams that the source of each connection offers: columns, keys, cursors, estimated rows."""
    from syncline.cli.output import print_json
    from syncline.service.discover import discover_catalog
    from syncline.service.mapping_preview import preview_mappings
    from syncline.service.project import load_project
    from syncline.settings import load_settings

    # Destinations of one connection share its source.
    chosen = list({item.name: item for item in load_project(file).only(connection)}.values())
    if after_mappings:
        mapped = {item.name: preview_mappings(item, load_settings(), rows=rows) for item in chosen}
        if as_json:
            print_json({name: [each.to_json() for each in found] for name, found in mapped.items()})
            return
        for previews in mapped.values():
            for preview in previews:
                _show(preview)
        return
    found = {item.name: discover_catalog(item, load_settings()) for item in chosen}
    if as_json:
        print_json({name: catalog.to_json() for name, catalog in found.items()})
        return
    for name, catalog in found.items():
        _list(name, catalog)


def _list(name: str, catalog: Catalog) -> None:
    from syncline.cli.output import table

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


def _show(preview: MappedPreview) -> None:
    import json

    if not preview.steps:
        print(f"{preview.stream}: as it is ({len(preview.before)} columns)\n")
        return
    print(f"{preview.source} -> {preview.stream}" + (f" (key: {', '.join(preview.key)})" if preview.key else ""))
    for number, step in enumerate(preview.steps, start=1):
        print(f"  {number}. {json.dumps(step, ensure_ascii=False)}")
    for word, columns, rows in (
        ("before", preview.before, preview.rows_before),
        ("after", preview.after, preview.rows_after),
    ):
        print(f"  {word}: {', '.join(f'{name} {kind}' for name, kind in columns)}")
        _rows([name for name, _ in columns], rows)
    left = len(preview.rows_before) - len(preview.rows_after)
    if left:
        print(f"  {left} of these rows do not pass the filter")
    if preview.note:
        print(f"  {preview.note}")
    print()


def _rows(names: Sequence[str], rows: Sequence[Mapping[str, str | None]]) -> None:
    for row in rows:
        print("    " + " | ".join(_cell(row[name]) for name in names))


def _cell(text: str | None) -> str:
    if text is None:
        return "NULL"
    line = text.replace("\n", "\\n")
    return line if len(line) <= _CELL else line[: _CELL - 1] + "…"
