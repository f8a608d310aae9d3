"""A process that makes one attempt, to be killed in it: ``python -m … SPEC`` with SYNCLINE_FAILPOINT set."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.integration.files.driver import attempt, destination

from syncline.connectors.files.config import LocalDestinationConfig, S3DestinationConfig
from syncline.core.stream import WriteMode


def main() -> None:
    spec = json.loads(sys.argv[1])
    model = S3DestinationConfig if "s3_bucket_name" in spec["config"] else LocalDestinationConfig
    dest = destination(model.model_validate(spec["config"]), Path(spec["work"]))
    attempt(dest, spec["run"], spec["rows"], WriteMode(spec["write"]))


if __name__ == "__main__":
    main()
