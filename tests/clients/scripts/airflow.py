"""The Airflow provider's hook and operator, without a scheduler: sync, wait, cancel, test."""

from __future__ import annotations

import json
import os
import sys
import tempfile

given = json.loads(sys.argv[1])
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"
connection = {
    "conn_type": "airbyte",
    "host": given["base"] + "/api/public/v1",
    "login": given["client_id"],
    "password": given["client_secret"],
}
# The provider's default token address is relative to the host; the documented ones are absolute.
os.environ["AIRFLOW_CONN_AIRBYTE_DEFAULT"] = json.dumps(connection)
os.environ["AIRFLOW_CONN_ABSOLUTE"] = json.dumps({**connection, "schema": "/v1/applications/token"})

from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator

for name in ("airbyte_default", "absolute"):
    assert AirbyteHook(name).test_connection() == (True, "Connection successfully tested")

operator = AirbyteTriggerSyncOperator(
    task_id="sync", connection_id=given["connection_id"], wait_seconds=0.2, timeout=60
)
job = operator.execute({})
assert isinstance(job, int), job
hook = AirbyteHook("absolute")
assert hook.get_job_status(job) == "succeeded"
assert hook.get_job_details(job).rows_synced == given["rows"]

slow = AirbyteTriggerSyncOperator(task_id="slow", connection_id=given["slow_connection_id"], asynchronous=True)
slow.execute({})
slow.on_kill()
try:
    hook.wait_for_job(slow.job_id, wait_seconds=0.2, timeout=30)
except Exception as error:
    assert "cancelled" in str(error), error
else:
    raise AssertionError("a cancelled job was waited for in vain")
print("passed")
