"""airbyte-api 0.53.0 against the server: create, sync, wait, cancel, read, change, delete."""

from __future__ import annotations

import json
import sys
import time

import airbyte_api
from airbyte_api import api, errors, models

given = json.loads(sys.argv[1])
sdk = airbyte_api.AirbyteAPI(
    server_url=given["base"] + given.get("prefix", "/api/public/v1"),
    security=models.Security(
        client_credentials=models.SchemeClientCredentials(
            client_id=given["client_id"],
            client_secret=given["client_secret"],
            **({"token_url": given["token_url"]} if "token_url" in given else {}),
        )
    ),
)
workspace = given["workspace_id"]

assert sdk.health.get_health_check().status_code == 200
assert sdk.workspaces.get_workspace(api.GetWorkspaceRequest(workspace_id=workspace)).workspace_response.name
assert workspace in [
    each.workspace_id for each in sdk.workspaces.list_workspaces(api.ListWorkspacesRequest()).workspaces_response.data
]

source = sdk.sources.create_source(
    models.SourceCreateRequest(
        name="shop", workspace_id=workspace, configuration=models.SourcePostgres(**given["source"])
    )
).source_response
destination = sdk.destinations.create_destination(
    models.DestinationCreateRequest(
        name="copy", workspace_id=workspace, configuration=models.DestinationDuckdb(**given["duckdb"])
    )
).destination_response
assert source.source_type == "postgres", source
assert destination.destination_type == "duckdb", destination
assert given["source"]["password"] not in repr(sdk.sources.get_source(api.GetSourceRequest(source_id=source.source_id)))

connection = sdk.connections.create_connection(
    models.ConnectionCreateRequest(
        source_id=source.source_id,
        destination_id=destination.destination_id,
        name="sdk 1",
        prefix="",
        configurations=models.StreamConfigurationsInput(
            streams=[
                models.StreamConfiguration(
                    name="orders", sync_mode=models.ConnectionSyncModeEnum.FULL_REFRESH_OVERWRITE
                )
            ]
        ),
        schedule=models.AirbyteAPIConnectionSchedule(
            schedule_type=models.ScheduleTypeEnum.CRON, cron_expression="0 0 3 1 1 ? UTC"
        ),
    )
).connection_response
assert connection.schedule.cron_expression == "0 0 3 1 1 ? UTC", connection.schedule
assert connection.prefix == "", connection
assert [stream.name for stream in connection.configurations.streams] == ["orders"]

job = sdk.jobs.create_job(
    models.JobCreateRequest(connection_id=connection.connection_id, job_type=models.JobTypeEnum.SYNC)
).job_response
until = time.monotonic() + 60
while job.status in (models.JobStatusEnum.PENDING, models.JobStatusEnum.RUNNING, models.JobStatusEnum.INCOMPLETE):
    assert time.monotonic() < until, job
    time.sleep(0.2)
    job = sdk.jobs.get_job(api.GetJobRequest(job_id=job.job_id)).job_response
assert job.status == models.JobStatusEnum.SUCCEEDED, job
assert job.rows_synced == given["rows"], job

# A sync that hangs, because its table is locked: a second one is refused, the first can be cancelled.
slow = sdk.jobs.create_job(
    models.JobCreateRequest(connection_id=given["slow_connection_id"], job_type=models.JobTypeEnum.SYNC)
).job_response
try:
    sdk.jobs.create_job(
        models.JobCreateRequest(connection_id=given["slow_connection_id"], job_type=models.JobTypeEnum.SYNC)
    )
except errors.SDKError as error:
    assert error.status_code == 409, error
    assert "already running" in str(error), error
else:
    raise AssertionError("a second sync was started")
cancelled = sdk.jobs.cancel_job(api.CancelJobRequest(job_id=slow.job_id)).job_response
until = time.monotonic() + 30
while cancelled.status != models.JobStatusEnum.CANCELLED:
    assert time.monotonic() < until, cancelled
    time.sleep(0.2)
    cancelled = sdk.jobs.get_job(api.GetJobRequest(job_id=slow.job_id)).job_response

jobs = sdk.jobs.list_jobs(
    api.ListJobsRequest(workspace_ids=[workspace], order_by="createdAt|DESC", limit=100)
).jobs_response
assert {job.job_id, slow.job_id} <= {each.job_id for each in jobs.data}
listed = sdk.connections.list_connections(api.ListConnectionsRequest(workspace_ids=[workspace])).connections_response
assert connection.connection_id in [each.connection_id for each in listed.data]
assert sdk.sources.list_sources(api.ListSourcesRequest(workspace_ids=[workspace])).sources_response.data
assert sdk.destinations.list_destinations(
    api.ListDestinationsRequest(workspace_ids=[workspace])
).destinations_response.data
streams = sdk.streams.get_stream_properties(
    api.GetStreamPropertiesRequest(source_id=source.source_id, destination_id=destination.destination_id)
).stream_properties_response
assert "orders" in [each.stream_name for each in streams], streams
assert sdk.permissions.list_permissions(api.ListPermissionsRequest()).permissions_response.data
organization = sdk.organizations.list_organizations_for_user().organizations_response.data[0]
assert sdk.users.list_users_within_an_organization(
    api.ListUsersWithinAnOrganizationRequest(organization_id=organization.organization_id)
).users_response.data
definitions = sdk.source_definitions.list_source_definitions(
    api.ListSourceDefinitionsRequest(workspace_id=workspace)
).definitions_response.data
assert "Postgres" in [each.name for each in definitions], definitions

changed = sdk.connections.patch_connection(
    api.PatchConnectionRequest(
        connection_id=connection.connection_id,
        connection_patch_request=models.ConnectionPatchRequest(
            name="renamed", status=models.ConnectionStatusEnum.INACTIVE
        ),
    )
).connection_response
assert (changed.name, changed.status.value, changed.schedule.cron_expression) == (
    "renamed",
    "inactive",
    "0 0 3 1 1 ? UTC",
)
try:
    sdk.jobs.create_job(
        models.JobCreateRequest(connection_id=connection.connection_id, job_type=models.JobTypeEnum.SYNC)
    )
except errors.SDKError as error:
    assert error.status_code == 409, error
else:
    raise AssertionError("an inactive connection was synced")

assert (
    sdk.connections.delete_connection(api.DeleteConnectionRequest(connection_id=connection.connection_id)).status_code
    == 204
)
assert sdk.sources.delete_source(api.DeleteSourceRequest(source_id=source.source_id)).status_code == 204
assert (
    sdk.destinations.delete_destination(
        api.DeleteDestinationRequest(destination_id=destination.destination_id)
    ).status_code
    == 204
)
try:
    sdk.connections.get_connection(api.GetConnectionRequest(connection_id=connection.connection_id))
except errors.SDKError as error:
    assert error.status_code == 404, error
else:
    raise AssertionError("a deleted connection is still there")
print("passed")
