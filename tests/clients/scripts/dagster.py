"""dagster-airbyte: the workspace resource (client credentials, assets, sync) and the older resource (basic)."""

from __future__ import annotations

import json
import sys
import threading
import time
from urllib.parse import urlsplit

import dagster
from dagster_airbyte import AirbyteResource, AirbyteWorkspace, build_airbyte_assets_definitions

given = json.loads(sys.argv[1])
workspace = AirbyteWorkspace(
    rest_api_base_url=given["base"] + "/api/public/v1",
    configuration_api_base_url=given["base"] + "/api/v1",
    workspace_id=given["workspace_id"],
    client_id=given["client_id"],
    client_secret=given["client_secret"],
    poll_interval=0.2,
)
data = workspace.fetch_airbyte_workspace_data()
assert given["connection_id"] in data.connections_by_id, data
assert [s.name for s in data.connections_by_id[given["connection_id"]].streams.values() if s.selected] == ["orders"]

assets = build_airbyte_assets_definitions(
    workspace=workspace, connection_selector_fn=lambda connection: connection.id == given["connection_id"]
)
result = dagster.materialize(assets, resources={"airbyte": workspace})
assert result.success
assert len(result.get_asset_materialization_events()) == 1

client = workspace.get_client()
assert client.get_jobs_for_connection(given["connection_id"])[0].status == "succeeded"
started = client.start_sync_job(given["slow_connection_id"])
try:
    client.sync_and_poll(given["slow_connection_id"])
except dagster.Failure:
    pass
else:
    raise AssertionError("a running job was not noticed")
assert client.cancel_job(started["jobId"])["jobId"] == started["jobId"]
until = time.monotonic() + 30
while client.get_job_details(started["jobId"])["status"] != "cancelled":
    assert time.monotonic() < until
    time.sleep(0.2)

place = urlsplit(given["base"])
for forward_logs in (True, False):
    resource = AirbyteResource(
        host=place.hostname,
        port=str(place.port),
        username=given["username"],
        password=given["password"],
        forward_logs=forward_logs,
        poll_interval=0.2,
    )
    output = resource.sync_and_poll(given["connection_id"], poll_interval=0.2)
    assert output.job_details["job"]["status"] == "succeeded", output
    assert output.connection_details["name"], output

failure: list[BaseException] = []


def watch() -> None:
    try:
        resource.sync_and_poll(given["slow_connection_id"], poll_interval=0.2)
    except BaseException as error:
        failure.append(error)


thread = threading.Thread(target=watch)
thread.start()
time.sleep(2)
job = client.get_jobs_for_connection(given["slow_connection_id"])[0]
resource.cancel_job(job.id)
thread.join(30)
assert not thread.is_alive()
assert "cancelled" in str(failure[0]).lower(), failure
print("passed")
