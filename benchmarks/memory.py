"""Peak memory must not grow with the table: ``python benchmarks/memory.py`` syncs 1M and 10M rows and compares."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from data import fill
from measure import measure

from syncline.testing.postgres_server import find_tls_bindir, start_postgres


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=(1_000_000, 10_000_000))
    parser.add_argument("--concurrency", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    peaks = []
    try:
        with start_postgres(bindir=find_tls_bindir(), settings={"max_wal_size": "8GB"}) as server:
            for rows in options.rows:
                database = server.create_database()
                fill(server, database, lineitem=rows, wide=0)
                params = server.params(database)
                config = {k: params[k] for k in ("host", "password")}
                config |= {"port": int(params["port"]), "database": database, "username": params["user"]}
                project = folder / f"{rows}.yaml"
                document = {
                    "source": {"type": "postgres", "config": config},
                    "destination": {"type": "local", "config": {"path": str(folder / str(rows))}},
                    "sync": {"concurrency": options.concurrency},
                }
                project.write_text(yaml.safe_dump(document), encoding="utf-8")
                command = [sys.executable, "-m", "syncline", "sync", str(project)]
                taken = measure(command, folder / "log.txt", {"SYNCLINE_HOME": str(folder / "home")})
                peaks.append(taken.rss)
                print(f"{rows:,} rows: {taken.rss:.0f} MiB, {taken.seconds:.1f} s, {taken.cpu:.1f} CPU s", flush=True)
                server.drop_database(database)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"growth: {peaks[1] / peaks[0] - 1:+.0%} (at most +15 %)")


if __name__ == "__main__":
    main()
