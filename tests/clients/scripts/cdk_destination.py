"""A destination written as Airbyte's documentation says, on airbyte-cdk's own class, run in an environment of the CDK:
JSON lines in a folder, one file per stream."""

import json
import sys
from pathlib import Path

from airbyte_cdk.destinations import Destination
from airbyte_cdk.models import (
    AirbyteConnectionStatus,
    ConnectorSpecification,
    DestinationSyncMode,
    Status,
    Type,
)


class JsonLines(Destination):
    def spec(self, *args, **kwargs):
        return ConnectorSpecification(
            connectionSpecification={
                "type": "object",
                "required": ["folder"],
                "properties": {"folder": {"type": "string"}},
            },
            supported_destination_sync_modes=[DestinationSyncMode.overwrite, DestinationSyncMode.append],
        )

    def check(self, logger, config):
        there = Path(config["folder"]).is_dir()
        return AirbyteConnectionStatus(
            status=Status.SUCCEEDED if there else Status.FAILED, message=None if there else "no such folder"
        )

    def write(self, config, configured_catalog, input_messages):
        files = {}
        for configured in configured_catalog.streams:
            path = Path(config["folder"]) / f"{configured.stream.name}.jsonl"
            mode = "w" if configured.destination_sync_mode == DestinationSyncMode.overwrite else "a"
            files[configured.stream.name] = path.open(mode)
        for message in input_messages:
            if message.type == Type.RECORD:
                files[message.record.stream].write(json.dumps(message.record.data) + "\n")
            elif message.type == Type.STATE:
                for file in files.values():
                    file.flush()
                yield message
        for file in files.values():
            file.close()


JsonLines().run(sys.argv[1:])
