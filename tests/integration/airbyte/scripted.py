"""A connector of our own that does what its configuration says: a program of the Airbyte protocol, for tests.

``config.streams`` is {name: number of rows}, ``config.acts`` a list of what happens in ``read``, in order:
["rows", stream, from, to], ["state", stream, n], ["raw", text], ["data", stream, {...}], ["big", stream, id, bytes],
["stderr", text], ["exit", code], ["signal", n], ["hang"], ["control", config], ["trace", {...}], ["status", stream, s],
["global", {stream: n}]. Without acts it reads well: rows from the state on, a state after each fifty, then COMPLETE.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")


def record(stream, data):
    say(type="RECORD", record={"stream": stream, "data": data, "emitted_at": 1})


def row(stream, n):
    at = f"2026-01-01T00:{n // 60 % 60:02d}:{n % 60:02d}Z"
    return {"id": n, "name": f"{stream} {n}", "at": at, "price": n / 4, "tags": [n, {"k": "ü"}], "on": n % 2 == 0}


SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": ["null", "integer"]},
        "name": {"type": ["null", "string"]},
        "at": {"type": ["null", "string"], "format": "date-time"},
        "price": {"type": "number"},
        "tags": {"type": ["null", "array"]},
        "on": {"type": "boolean"},
    },
}


def catalog(config):
    return {
        "streams": [
            {
                "name": name,
                "json_schema": SCHEMA,
                "supported_sync_modes": ["full_refresh", "incremental"],
                "source_defined_cursor": True,
                "default_cursor_field": ["at"],
                "source_defined_primary_key": [["id"]],
                "is_resumable": bool(config.get("resumable")),
            }
            for name in config["streams"]
        ]
    }


def state(stream, n, count=None):
    stats = {} if count is None else {"sourceStats": {"recordCount": float(count)}}
    own = {"stream_descriptor": {"name": stream}, "stream_state": {"n": n}}
    say(type="STATE", state={"type": "STREAM", "stream": own, **stats})


def status(stream, word):
    trace = {"type": "STREAM_STATUS", "emitted_at": 1.0}
    say(type="TRACE", trace={**trace, "stream_status": {"stream_descriptor": {"name": stream}, "status": word}})


def well(config, selected, states):
    for stream in selected:
        status(stream, "STARTED")
        n = states.get(stream, {}).get("n", 0)
        while n < config["streams"][stream]:
            end = min(n + 50, config["streams"][stream])
            for i in range(n, end):
                record(stream, row(stream, i))
            state(stream, end, end - n)
            n = end
        state(stream, n, 0)
        status(stream, "COMPLETE")


def act(kind, *said):
    if kind == "rows":
        for i in range(said[1], said[2]):
            record(said[0], row(said[0], i))
    elif kind == "state":
        state(*said)
    elif kind == "data":
        record(*said)
    elif kind == "big":
        record(said[0], {**row(said[0], said[1]), "name": "x" * said[2]})
    elif kind == "raw":
        sys.stdout.write(said[0] + "\n")
    elif kind == "stderr":
        sys.stderr.write(said[0] + "\n")
        sys.stderr.flush()
    elif kind == "trace":
        say(type="TRACE", trace=said[0])
    elif kind == "status":
        status(*said)
    elif kind == "control":
        say(type="CONTROL", control={"type": "CONNECTOR_CONFIG", "connectorConfig": {"config": said[0]}})
    elif kind == "global":
        own = [{"stream_descriptor": {"name": s}, "stream_state": {"n": n}} for s, n in said[0].items()]
        shared = {"shared_state": {"lsn": sum(said[0].values())}, "stream_states": own}
        say(type="STATE", state={"type": "GLOBAL", "global": shared})
    else:
        sys.stdout.flush()
        if kind == "exit":
            sys.exit(said[0])
        elif kind == "signal":
            os.kill(os.getpid(), said[0])
        elif kind == "hang":
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        else:
            raise ValueError(kind)


def log_in(config):
    """As an API whose refresh tokens work once: the one in the file ``valid_token`` is taken, and is another then."""
    valid = Path(config["valid_token"])
    if valid.read_text() != config["api_token"]:
        say(
            type="TRACE", trace={"type": "ERROR", "error": {"message": "invalid_grant", "failure_type": "config_error"}}
        )
        sys.exit(1)
    time.sleep(0.3)
    config["api_token"] = f"one-use-{int(config['api_token'].rsplit('-')[-1]) + 1}"
    valid.write_text(config["api_token"])
    act("control", config)
    sys.stdout.flush()


def main():
    command, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    path = options["--config"]
    assert Path(path).stat().st_mode & 0o777 == 0o600
    config = json.loads(Path(path).read_text())
    if config.get("valid_token"):
        log_in(config)
    if note := config.get("note"):
        said = Path(options["--state"]).read_text() if "--state" in options else "null"
        with Path(note).open("a") as file:
            file.write(json.dumps([command, os.getpid(), config.get("api_token"), json.loads(said)]) + "\n")
    if command == "check":
        ok = config.get("check", "SUCCEEDED")
        say(
            type="CONNECTION_STATUS",
            connectionStatus={"status": ok, "message": "401: bad " + str(config.get("api_token"))},
        )
    elif command == "discover":
        print("a line that is no message")
        say(type="CATALOG", catalog=catalog(config))
    elif command == "read":
        configured = json.loads(Path(options["--catalog"]).read_text())["streams"]
        if note:
            Path(note).with_name("configured").write_text(json.dumps(configured))
        selected = [s["stream"]["name"] for s in configured]
        states = {}
        if "--state" in options:
            for each in json.loads(Path(options["--state"]).read_text()):
                for part in [each["stream"]] if each["type"] == "STREAM" else each["global"]["stream_states"]:
                    states[part["stream_descriptor"]["name"]] = part["stream_state"]
        for step in config.get("acts") or ():
            act(*step)
        if not config.get("acts"):
            well(config, selected, states)


main()
