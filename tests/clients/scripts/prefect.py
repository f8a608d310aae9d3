"""prefect-airbyte: the block's trigger, wait and result, and the older task; both without a Prefect server of its
own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from urllib.parse import urlsplit

given = json.loads(sys.argv[1])
os.environ["PREFECT_HOME"] = tempfile.mkdtemp()
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"

from prefect_airbyte.connections import AirbyteConnection
from prefect_airbyte.exceptions import AirbyteSyncJobFailed
from prefect_airbyte.server import AirbyteServer

place = urlsplit(given["base"])
server = AirbyteServer(
    server_host=place.hostname, server_port=place.port, username=given["username"], password=given["password"]
)


async def main() -> None:
    connection = AirbyteConnection(airbyte_server=server, connection_id=given["connection_id"], poll_interval_s=1)
    run = await connection.trigger()
    await run.wait_for_completion()
    result = await run.fetch_result()
    assert result.job_status == "succeeded", result
    assert result.records_synced == given["rows"], result

    slow = AirbyteConnection(airbyte_server=server, connection_id=given["slow_connection_id"], poll_interval_s=1)
    run = await slow.trigger()
    # prefect-airbyte cannot cancel: its user does so beside it.
    import httpx

    answer = httpx.post(
        given["base"] + "/api/v1/jobs/cancel", json={"id": run.job_id}, auth=(given["username"], given["password"])
    )
    assert answer.status_code == 200, answer.text
    try:
        await asyncio.wait_for(run.wait_for_completion(), 30)
    except AirbyteSyncJobFailed as error:
        assert "cancelled" in str(error), error
    else:
        raise AssertionError("a cancelled job looked well")


asyncio.run(main())
print("passed")
