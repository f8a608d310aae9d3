"""PyAirbyte's cloud module: connect, deploy, sync, wait, read, cancel, state and catalog, delete."""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["DO_NOT_TRACK"] = "1"
import warnings

warnings.simplefilter("ignore")

import airbyte.cloud as cloud
from airbyte._util import api_util
from airbyte.secrets.base import SecretString

given = json.loads(sys.argv[1])
workspace = cloud.CloudWorkspace(
    workspace_id=given["workspace_id"],
    client_id=SecretString(given["client_id"]),
    client_secret=SecretString(given["client_secret"]),
    api_root=given["base"] + "/api/public/v1",
)
workspace.connect()
login = {
    "api_root": workspace.api_root,
    "workspace_id": workspace.workspace_id,
    "client_id": workspace.client_id,
    "client_secret": workspace.client_secret,
    "bearer_token": None,
}
source = api_util.create_source(name="py source", config={"sourceType": "postgres", **given["source"]}, **login)
destination = api_util.create_destination(
    name="py copy", config={"destinationType": "duckdb", **given["duckdb"]}, **login
)
assert workspace.get_source(source.source_id).check()
assert workspace.get_destination(destination.destination_id).check()
connection = workspace.deploy_connection(
    connection_name="py delete-me",
    source=source.source_id,
    destination=destination.destination_id,
    selected_streams=["orders"],
    table_prefix="",
)
assert connection.stream_names == ["orders"], connection.stream_names
result = connection.run_sync(wait=True, wait_timeout=60)
assert str(result.get_job_status()).endswith("SUCCEEDED") or result.get_job_status() == "succeeded", (
    result.get_job_status()
)
assert result.records_synced == given["rows"]
assert result.start_time
assert [attempt.status for attempt in result.get_attempts()] == ["succeeded"]
assert result.get_attempts()[0].records_synced == given["rows"]
assert result.get_attempts()[0].get_full_log_text()
assert connection.get_sync_result().job_id == result.job_id
assert connection.get_previous_sync_logs()

slow = workspace.get_connection(given["slow_connection_id"])
running = slow.run_sync(wait=False)
slow.cancel_sync()
until = time.monotonic() + 30
while not running.is_job_complete():
    assert time.monotonic() < until
    time.sleep(0.2)
assert running.get_job_status() == "cancelled", running.get_job_status()

state = connection.dump_raw_state(normalize=False)
assert state["stateType"] in ("stream", "not_set"), state
catalog = connection.dump_raw_catalog()
assert [stream["stream"]["name"] for stream in catalog["streams"]] == ["orders"], catalog
connection.import_raw_catalog(catalog)
connection.rename("py renamed delete-me")
connection.set_table_prefix("x_")
connection.set_schedule(cron_expression="0 0 3 1 1 ?")
connection.set_manual_schedule()
connection.enabled = False
assert not connection.enabled
assert connection.connection_id in [each.connection_id for each in workspace.list_connections()]
assert source.source_id in [each.connector_id for each in workspace.list_sources()]
assert workspace.get_organization(raise_on_error=True).organization_id
connection.permanently_delete()
assert connection.connection_id not in [each.connection_id for each in workspace.list_connections()]
print("passed")
