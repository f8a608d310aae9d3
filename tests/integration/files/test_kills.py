"""SIGKILL at the fail points inside seal, commit and publish, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.files.driver import (
    attempt,
    by_folder,
    by_manifest,
    counted,
    destination,
    leftovers,
    local,
    s3,
    source,
)

from syncline.core.stream import WriteMode

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
POINTS = ["seal.inside:2", "commit.inside:3", "publish.inside"]
MORE = ["commit.inside", "commit.inside:5"]


def run_killed(spec: dict[str, Any], point: str) -> int:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.files.dying", json.dumps(spec)],
        env={**os.environ, "SYNCLINE_FAILPOINT": point, "PYTHONPATH": paths},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.slow)])
@pytest.mark.parametrize("write", [WriteMode.REPLACE, WriteMode.APPEND])
def test_killed_at_each_fail_point(
    request: pytest.FixtureRequest, place: str, write: WriteMode, tmp_path: Path
) -> None:
    if place == "local":
        settings: dict[str, Any] = {"path": str(tmp_path / "lake")}
        config: Any = local(tmp_path / "lake")
    else:
        server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("s3_bucket")
        config = s3(server, bucket)
        settings = {
            "s3_bucket_name": bucket,
            "s3_bucket_path": config.s3_bucket_path,
            "s3_endpoint": server.endpoint_url,
            "s3_bucket_region": server.region,
            "access_key_id": server.credentials.access_key_id,
            "secret_access_key": server.credentials.secret_access_key,
        }
    sources = [source(1)]
    attempt(destination(config, tmp_path), 1, sources[0], write)
    kills = 0
    points = POINTS if place == "local" else [*POINTS, *MORE]
    for run, point in enumerate(points, 2):
        rows = source(run)
        spec = {"config": settings, "work": str(tmp_path), "run": run, "rows": rows, "write": write.value}
        kills += run_killed(spec, point) != 0
        if run % 2:
            kills += run_killed(spec, point) != 0  # and again while recovering
        after = destination(config, tmp_path)
        attempt(after, run, rows, write)
        sources.append(rows)
        wanted = counted(rows) if write is WriteMode.REPLACE else counted(*sources)
        assert by_manifest(after) == wanted, point
    last = destination(config, tmp_path)
    attempt(last, 99, {}, WriteMode.APPEND)
    assert by_folder(last) == counted(*(sources[-1:] if write is WriteMode.REPLACE else sources))
    assert leftovers(last) == []
    assert kills >= len(points)
