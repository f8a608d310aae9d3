"""``syncline demo``: the main job on a Postgres of our own, with the very commands that a user would type."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from syncline.testing.postgres_server import PostgresServer

__all__ = ["demo"]

#: An ERP in small: three master tables and 500,000 orders; some awkward values in each.
_TABLES = """
CREATE TABLE erp_cust_az12 (
  cid text PRIMARY KEY, bdate date, gen text, email text, credit_limit numeric(12,2),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE erp_loc_a101 (cid text PRIMARY KEY, cntry text, updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE erp_px_cat_g1v2 (
  id text PRIMARY KEY, cat text, subcat text, maintenance boolean, updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE orders (
  order_id bigint PRIMARY KEY, cid text NOT NULL, product_id text NOT NULL, quantity integer NOT NULL,
  amount numeric(12,2) NOT NULL, tags text[], details jsonb, note text, ordered_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO erp_cust_az12 (cid, bdate, gen, email, credit_limit, updated_at)
SELECT 'NAS' || lpad(g::text, 8, '0'), date '1940-01-01' + (g * 37 % 25000),
       (ARRAY['Male', 'Female', '', NULL])[1 + g % 4],
       CASE WHEN g % 50 = 0 THEN NULL ELSE 'customer' || g || '@example.com' END, (g % 10000) / 3.0,
       now() - interval '30 days' + g * interval '1 minute'
FROM generate_series(1, 20000) g;
INSERT INTO erp_loc_a101 (cid, cntry, updated_at)
SELECT 'NAS' || lpad(g::text, 8, '0'),
       (ARRAY['Germany', 'DE', 'United States', 'USA', 'Österreich', '日本', ''])[1 + g % 7],
       now() - interval '30 days' + g * interval '1 minute'
FROM generate_series(1, 20000) g;
INSERT INTO erp_px_cat_g1v2 (id, cat, subcat, maintenance, updated_at)
SELECT 'P' || g, (ARRAY['Bikes', 'Components', 'Clothing', 'Accessories'])[1 + g % 4], 'Sub ' || g % 37, g % 3 = 0,
       now() - interval '30 days'
FROM generate_series(1, 1000) g;
INSERT INTO orders (order_id, cid, product_id, quantity, amount, tags, details, note, ordered_at, updated_at)
SELECT g, 'NAS' || lpad((1 + g * 7919 % 20000)::text, 8, '0'), 'P' || 1 + g % 1000, 1 + g % 9, (g % 100000) / 7.0,
       CASE g % 3 WHEN 0 THEN ARRAY['web', 'promo'] WHEN 1 THEN ARRAY[]::text[] END,
       jsonb_build_object('channel', g % 5, 'gift', g % 2 = 0),
       CASE g % 4 WHEN 0 THEN '' WHEN 1 THEN NULL ELSE 'line 1' || chr(10) || 'line 2, "quoted"' END,
       now() - interval '30 days' + g * interval '5 seconds', now() - interval '30 days' + g * interval '5 seconds'
FROM generate_series(1, 500000::bigint) g;
CREATE INDEX ON erp_cust_az12 (updated_at);
CREATE INDEX ON erp_loc_a101 (updated_at);
CREATE INDEX ON erp_px_cat_g1v2 (updated_at);
CREATE INDEX ON orders (updated_at);
ANALYZE;
"""

_CHANGES = """
UPDATE orders SET amount = amount + 1, updated_at = now() WHERE order_id % 50 = 0;
INSERT INTO orders (order_id, cid, product_id, quantity, amount, ordered_at)
SELECT g, 'NAS00000001', 'P1', 1, 9.99, now() FROM generate_series(500001, 505000) g;
UPDATE erp_cust_az12 SET credit_limit = 0, updated_at = now() WHERE cid LIKE '%7';
INSERT INTO erp_loc_a101 (cid, cntry) VALUES ('NAS99999999', 'Deutschland');
"""

#: Some 1,200 transactions, a few milliseconds apart: what an application does while it is being replicated.
_LIVE = """
DO $$
BEGIN
  FOR i IN 1..1200 LOOP
    UPDATE orders SET quantity = quantity + 1, updated_at = now() WHERE order_id IN (i * 37, i * 91);
    INSERT INTO orders (order_id, cid, product_id, quantity, amount, ordered_at)
    VALUES (600000 + i, 'NAS00000002', 'P2', 1, i / 7.0, now());
    DELETE FROM orders WHERE order_id = i * 53;
    COMMIT;
    PERFORM pg_sleep(0.004);
  END LOOP;
END $$
"""

#: What the application does while the page is looked at: the log that is followed has something to tell.
_ALIVE = """
UPDATE orders SET quantity = quantity + 1, updated_at = now() WHERE order_id BETWEEN {beat} * 7 AND {beat} * 7 + 20;
INSERT INTO orders (order_id, cid, product_id, quantity, amount, ordered_at)
SELECT coalesce(max(order_id), 0) + 1, 'NAS00000003', 'P3', 1, 4.5, now() FROM orders
"""

_PROJECT = """\
# The demo's project: one database, read in two ways, and three destinations. The password comes from the environment.
sources:
  erp:
    type: postgres
    config:
      host: 127.0.0.1
      port: {port}
      database: erp
      username: postgres
      password: ${{ERP_PASSWORD}}
      schemas: ["public"]

  erp_log:
    type: postgres
    config:
      host: 127.0.0.1
      port: {port}
      database: erp
      username: postgres
      password: ${{ERP_PASSWORD}}
      replication_method: CDC

destinations:
  replica:
    type: postgres
    config:
      host: 127.0.0.1
      port: {port}
      database: replica
      username: postgres
      password: ${{ERP_PASSWORD}}
  lake:
    type: local
    config:
      path: {folder}/lake
      path_prefix: bronze/erp/
      format:
        file_type: Parquet
        compression: SNAPPY
      partitioning:
        - field_name: _sync_date
          type: DATE
  warehouse:
    type: duckdb
    config:
      path: {folder}/warehouse.duckdb

connections:
  erp-to-lake:
    source: erp
    destination: lake
    mode: incremental_append
    cursor_field: updated_at
    schedule: every 5 minutes
  erp-to-warehouse:
    source: erp
    destination: warehouse
    mode: incremental_deduped_history
    cursor_field: updated_at
    schedule: every 2 minutes
  erp-live:
    source: erp_log
    destination: replica
    mode: incremental_deduped_history
    schedule: continuous
"""


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where to leave lake and warehouse.")] = Path("demo-data"),
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Then serve the web page with these connections, until Ctrl-C (default: when a terminal is attended).",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the web page (default: 8000, or a free one)."),
    ] = None,
) -> None:
    """Replicate a small ERP from an embedded Postgres into a Parquet lake and DuckDB, change it, go on, verify; then
    follow its log into another Postgres."""
    import os
    import shutil

    from syncline.core.errors import ErrorKind, SynclineError
    from syncline.testing.postgres_server import PostgresUnavailableError, start_postgres

    began = time.monotonic()
    marker = folder / ".syncline-demo"
    if folder.exists():
        if not marker.exists():
            raise SynclineError(ErrorKind.CONFLICT, f"{folder} exists and is not a demo's", hint="give another --dir")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.touch()
    project = folder / "erp.yaml"
    try:
        server = start_postgres(settings={"wal_level": "logical"})
    except PostgresUnavailableError as error:
        raise SynclineError(ErrorKind.CONFIG, str(error), hint="pip install 'syncline[demo]'") from error
    with server:
        server.create_database("erp")
        server.create_database("replica")
        _say("A Postgres with a small ERP: 3 master tables and 500,000 orders")
        server.execute(_TABLES, dbname="erp")
        project.write_text(_PROJECT.format(port=server.port, folder=folder), encoding="utf-8")
        environment = {
            **os.environ,
            "ERP_PASSWORD": str(server.params("erp")["password"]),
            "SYNCLINE_HOME": str(folder / "home"),
        }
        lake, warehouse = ("-c", "erp-to-lake"), ("-c", "erp-to-warehouse")
        _say("First sync: everything, into a Parquet lake and a DuckDB file")
        _run(["sync", str(project), *lake], environment)
        _run(["sync", str(project), *warehouse], environment)
        _say("Meanwhile at the source: 10,000 orders updated, 5,000 new, 2,000 customers changed")
        server.execute(_CHANGES, dbname="erp")
        _say("Second sync: only what changed")
        _run(["sync", str(project), *lake], environment)
        _run(["sync", str(project), *warehouse], environment)
        _say("Is the copy right? Compare both ends by content")
        _run(["verify", str(project), *lake], environment)
        _run(["verify", str(project), *warehouse], environment)
        _live(server, project, environment)
        if _is_attended() if serve is None else serve:
            from syncline.cli.demo_page import serve_page
            from syncline.cli.extras import need_server_extra

            need_server_extra()
            _say(f"The replication took {time.monotonic() - began:.0f} s. The same connections in the web page")
            with _application(server):
                serve_page(project, environment, port, lambda arguments: _run(arguments, environment))
    _say(f"Done in {time.monotonic() - began:.0f} s. Look at {folder}/lake and {folder}/warehouse.duckdb. With yours:")
    print("  1. syncline init my.yaml                  writes a project file: fill in your database")
    print("  2. syncline check my.yaml                 says what is missing, in your server's own terms")
    print("  3. syncline sync my.yaml && syncline verify my.yaml")
    print("The web page: syncline demo --serve leaves all this running at http://127.0.0.1:8000")


def _live(server: PostgresServer, project: Path, environment: dict[str, str]) -> None:
    """Change data capture: copy into another Postgres, then follow the log while the source is written to."""
    import signal
    import threading

    live = ("-c", "erp-live")
    _say("The same database by its log: copied into another Postgres ...")
    _run(["sync", str(project), *live], environment)
    _say("... and followed while an application writes some 100 transactions a second")
    print(f"$ syncline sync {project} -c erp-live --follow &", flush=True)
    follower = subprocess.Popen(
        [sys.executable, "-m", "syncline", "sync", str(project), *live, "--follow"], env=environment
    )
    try:
        application = threading.Thread(target=server.execute, args=(_LIVE,), kwargs={"dbname": "erp"})
        application.start()
        time.sleep(3)
        _run(["lag", str(project), *live], environment)
        _say("Is the copy right, while it is written to? Both ends are compared at one place of the log")
        _run(["verify", str(project), *live], environment)
        application.join()
        _run(["lag", str(project), *live, "--max-seconds", "60"], environment)
    finally:
        follower.send_signal(signal.SIGTERM)
        code = follower.wait(timeout=60)
    if code != 0:
        raise typer.Exit(code)


def _is_attended() -> bool:
    """Whether somebody sits there who can look at a page and end it; a build server's terminal has nobody."""
    import os

    return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")


@contextmanager
def _application(server: PostgresServer) -> Iterator[None]:
    """Something that writes to the source, twice a second, as long as this lasts."""
    import threading

    stop = threading.Event()

    def work() -> None:
        beat = 0
        while not stop.wait(0.5):
            beat = (beat + 1) % 10_000
            server.execute(_ALIVE.format(beat=beat), dbname="erp")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    print(f"$ syncline {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "syncline", *arguments], env=environment, check=False).returncode
    if code != 0:
        raise typer.Exit(code)
