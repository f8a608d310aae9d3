"""``syncline init``: write a first project file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["init"]

_TEMPLATE = """\
# Syncline project. `syncline check {file}` says what is missing, `syncline sync {file}` runs it.
# Settings of each connector: syncline connectors spec postgres
# {braces} reads the environment; host, user and password left out come from PGHOST, PGUSER, PGPASSWORD.
source:
  type: postgres
  config:
    host: ${{PGHOST}}
    port: 5432
    database: ${{PGDATABASE}}
    username: ${{PGUSER}}
    password: ${{PGPASSWORD}}
    ssl_mode: prefer          # verify-full with ca_certificate where it matters
    schemas: ["public"]
    # tables: ["orders", "customers"]
    replication_method:
      method: Standard        # cursor column, or full refresh; Xmin needs no cursor column

destination:
{destination}
sync:
  mode: {mode}
  # schedule: "0 3 * * *"     # used by the server
  # streams:
  #   - name: orders
  #     mode: incremental
  #     cursor_field: updated_at
"""

_DESTINATIONS = {
    "duckdb": "  type: duckdb\n  config:\n    path: warehouse.duckdb\n",
    "local": "  type: local\n  config:\n    path: lake\n"
    "    format:\n      file_type: Parquet\n      compression: SNAPPY\n"
    "    partitioning:\n      - field_name: _sync_date\n        type: DATE\n",
    "s3": "  type: s3\n  config:\n    bucket: my-data-lake\n    path_prefix: bronze/\n"
    "    format:\n      file_type: Parquet\n      compression: SNAPPY\n"
    "    partitioning:\n      - field_name: _sync_date\n        type: DATE\n",
    "postgres": "  type: postgres\n  config:\n    host: warehouse-host\n    database: warehouse\n    schema: staging\n"
    "    username: ${WAREHOUSE_USER}\n    password: ${WAREHOUSE_PASSWORD}\n",
}


def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.", metavar="FILE")] = Path("syncline.yaml"),
    to: Annotated[str, typer.Option(help=f"Destination: {', '.join(_DESTINATIONS)}.")] = "duckdb",
) -> None:
    """Write a first project file, from Postgres to the destination of your choice. Never overwrites."""
    from syncline.core.errors import ErrorKind, SynclineError, nearest

    if to not in _DESTINATIONS:
        near = nearest(to, list(_DESTINATIONS))
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(_DESTINATIONS)}"
        raise SynclineError(ErrorKind.CONFIG, f"unknown destination {to!r}", hint=hint)
    mode = "full_refresh" if to in ("local", "s3") else "incremental"
    text = _TEMPLATE.format(file=file, destination=_DESTINATIONS[to], mode=mode, braces="${NAME}")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise SynclineError(ErrorKind.CONFLICT, f"{file} exists already", hint="give another name") from None
    print(f"wrote {file}")
    print(f"next: fill it in, then: syncline check {file} && syncline sync {file} && syncline verify {file}")
