"""A destination of our own that speaks the Airbyte protocol and keeps its tables in a SQLite file, for tests.

``config.file`` is the database; every column is JSON text. ``overwrite`` empties the table at its start, as most
destinations do; with ``config.refreshes`` it follows generation ids instead: rows below the minimum go once the stream
is COMPLETE. ``config.acts`` are things to do wrong, in order: ["exit", records, code] or ["signal", records, n] after
so many records, ["deaf", records] (reads no further, ends well), ["no echo"], ["reject", n], ["garbage"], ["hang"],
["control", config], ["trace", message, failure_type]. ``config.note`` gets a line of JSON for every run of ``write``.
"""

import json
import os
import sqlite3
import sys
import time
from pathlib import Path


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


class Table:
    def __init__(self, con, configured, refreshes):
        stream = configured["stream"]
        self.con, self.configured = con, configured
        self.key = [path[0] for path in configured.get("primary_key") or ()]
        self.cursor = (configured.get("cursor_field") or [None])[0]
        self.mode = configured["destination_sync_mode"]
        self.name = quoted(".".join(filter(None, [stream.get("namespace"), stream["name"]])))
        self.generation, self.minimum = configured["generation_id"], configured["minimum_generation_id"]
        self.refreshes = refreshes
        columns = list(stream["json_schema"]["properties"])
        con.execute(f"CREATE TABLE IF NOT EXISTS {self.name} (_generation INTEGER)")
        known = [row[1] for row in con.execute(f"PRAGMA table_info({self.name})")]
        for column in columns:
            if column not in known:
                con.execute(f"ALTER TABLE {self.name} ADD COLUMN {quoted(column)}")
        if self.mode == "overwrite":
            con.execute(f"DELETE FROM {self.name}")
        con.commit()

    def add(self, data):
        if self.mode == "append_dedup":
            where = " AND ".join(f"{quoted(k)} IS ?" for k in self.key)
            found = [json.dumps(data.get(k)) for k in self.key]
            held = self.con.execute(
                f"SELECT {quoted(self.cursor or self.key[0])} FROM {self.name} WHERE {where} AND _generation >= ?",
                [*found, self.minimum],
            ).fetchone()
            if held and self.cursor and json.loads(held[0]) > data[self.cursor]:
                return
            self.con.execute(f"DELETE FROM {self.name} WHERE {where} AND _generation >= ?", [*found, self.minimum])
        names = ", ".join(map(quoted, ["_generation", *data]))
        marks = ", ".join("?" * (len(data) + 1))
        values = [self.generation, *map(json.dumps, data.values())]
        self.con.execute(f"INSERT INTO {self.name} ({names}) VALUES ({marks})", values)

    def complete(self):
        if self.refreshes:
            self.con.execute(f"DELETE FROM {self.name} WHERE _generation < ?", [self.minimum])
            self.con.commit()


def write(config, catalog):
    con = sqlite3.connect(config["file"])
    tables = {}
    for configured in catalog["streams"]:
        stream = configured["stream"]
        tables[stream.get("namespace"), stream["name"]] = Table(con, configured, config.get("refreshes"))
    acts = config.get("acts") or []
    if note := config.get("note"):
        with Path(note).open("a") as file:
            file.write(json.dumps([os.getpid(), catalog["streams"]]) + "\n")
    for act in acts:
        if act[0] == "garbage":
            print("no message at all, with " + config.get("api_token", ""))
        elif act[0] == "hang":
            time.sleep(3600)
        elif act[0] == "control":
            say(type="CONTROL", control={"type": "CONNECTOR_CONFIG", "connectorConfig": {"config": act[1]}})
        elif act[0] == "trace":
            error = {"message": act[1], "failure_type": act[2]}
            say(type="TRACE", trace={"type": "ERROR", "emitted_at": 1.0, "error": error})
            sys.exit(1)
    count = 0
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message["type"] == "RECORD":
            record = message["record"]
            tables[record.get("namespace"), record["stream"]].add(record["data"])
            count += 1
            for act in acts:
                if act[0] in ("exit", "signal", "deaf") and act[1] == count:
                    con.commit()
                    if act[0] == "signal":
                        os.kill(os.getpid(), act[2])
                    sys.exit(act[2] if act[0] == "exit" else 0)
        elif message["type"] == "STATE":
            con.commit()
            rejected = next((act[1] for act in acts if act[0] == "reject"), 0)
            stats = {"recordCount": float(count - rejected), "rejectedRecordCount": float(rejected)}
            if ["no echo"] not in acts:
                say(type="STATE", state={**message["state"], "destinationStats": stats})
        elif message["type"] == "TRACE":
            status = message["trace"]["stream_status"]
            assert status["status"] == "COMPLETE"
            own = status["stream_descriptor"]
            tables[own.get("namespace"), own["name"]].complete()
    con.close()


def main():
    command, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    if command == "spec":
        modes = ["overwrite", "append", "append_dedup"]
        say(type="SPEC", spec={"connectionSpecification": {}, "supported_destination_sync_modes": modes})
        return
    config = json.loads(Path(options["--config"]).read_text())
    if command == "check":
        say(type="CONNECTION_STATUS", connectionStatus={"status": "SUCCEEDED"})
    else:
        write(config, json.loads(Path(options["--catalog"]).read_text()))


main()
