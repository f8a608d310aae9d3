"""The project file of those benchmarks that follow a log from one database to another of the same server."""

from __future__ import annotations

from syncline.testing.postgres_server import PostgresServer

__all__ = ["log_project"]


def log_project(server: PostgresServer, source: str, sink: str) -> dict[str, object]:
    params = server.params(source)
    common = {
        "host": params["host"],
        "port": int(params["port"]),
        "username": params["user"],
        "password": params["password"],
    }
    return {
        "source": {"type": "postgres", "config": {**common, "database": source, "replication_method": "CDC"}},
        "destination": {"type": "postgres", "config": {**common, "database": sink}},
        "sync": {"mode": "incremental_deduped_history"},
    }
