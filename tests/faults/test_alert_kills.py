"""The server killed between a run's end and the message about it: the message comes all the same. It comes twice only
where the other side had taken it and the store did not know, which no protocol of these channels can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.faults.server_process import running_server, until
from tests.integration.alerts.test_server_alerts import OWN, webhook

from syncline.core.failpoints import ALERT_STEPS

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("step", ALERT_STEPS)
def test_a_message_survives_its_server(step: str, tmp_path: Path) -> None:
    with webhook() as (hook, taken):
        with running_server(tmp_path / "home", {"SYNCLINE_FAILPOINT": step}) as dying:
            channels = f"{OWN}/workspaces/{dying.workspace()}/alert_channels"
            dying.call("POST", channels, {"name": "ops", "url": hook})
            dying.call("POST", "/v1/jobs", {"connectionId": _connection(dying, tmp_path), "jobType": "sync"})
            until(lambda: dying._process.poll() == -9)
        assert len(taken) == (step == "alert.sent")
        with running_server(tmp_path / "home") as server:
            wanted = 2 if step == "alert.sent" else 1
            until(lambda: len(taken) >= wanted)
            (alert,) = until(lambda: server.call("GET", f"{OWN}/alerts")["alerts"])
            path = f"{OWN}/workspaces/{server.workspace()}/alerts/{alert['alertId']}/messages"
            (message,) = until(lambda: (m := server.call("GET", path)["messages"]) and m[0]["status"] == "sent" and m)
            assert message["telling"] == "opened"
        # An answer that took too long is tried again too: each try is in the store, but for the one that died.
        assert wanted <= len(taken) <= wanted - 1 + message["tries"]
        assert len({t["message"] for t in taken}) == 1


def _connection(server: Any, folder: Path) -> str:
    about = {"name": "numbers", "workspaceId": server.workspace()}
    streams = [{"name": "in", "globs": ["in.csv"], "format": {"filetype": "csv"}}]  # there is no such file
    source = {"sourceType": "files", "path": str(folder), "streams": streams}
    target = {"destinationType": "duckdb", "destination_path": str(folder / "out.duckdb")}
    source_id = server.call("POST", "/v1/sources", {**about, "configuration": source})["sourceId"]
    destination_id = server.call("POST", "/v1/destinations", {**about, "configuration": target})["destinationId"]
    return str(server.connection(source_id, destination_id, name="numbers"))
