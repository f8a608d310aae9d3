"""Other people's client libraries, unmodified, against the server: create, sync, wait, cancel, read.

Each runs in an environment of its own (``prepare.py`` makes them). A client whose environment is not there is skipped,
with the command that makes it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.clients.prepare import CLIENTS, interpreter, is_ready

SCRIPTS = Path(__file__).parent / "scripts"

pytestmark = pytest.mark.clients


def run(name: str, given: dict[str, Any], folder: Path) -> None:
    if not is_ready(name):
        pytest.skip(f"no environment for {name}: python tests/clients/prepare.py {name}")
    # Nothing of ours and nothing of the developer's: the client must find its own libraries and nobody's settings.
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    done = subprocess.run(
        [str(interpreter(name)), "-P", str(SCRIPTS / f"{name}.py"), json.dumps(given)],
        cwd=folder,
        env={**kept, "HOME": str(folder), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    assert done.stdout.rstrip().endswith("passed")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_works_unmodified(name: str, given: dict[str, Any], tmp_path: Path) -> None:
    run(name, {**given, "duckdb": {"destination_path": str(tmp_path / "copy.duckdb")}}, tmp_path)


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1", "/v1/"])
@pytest.mark.parametrize("token_url", ["/applications/token", "/v1/applications/token", "applications/token"])
def test_the_sdk_works_wherever_it_is_pointed(
    given: dict[str, Any], tmp_path: Path, prefix: str, token_url: str
) -> None:
    """Airbyte's own quickstarts write the address in all these ways."""
    duckdb = {"destination_path": str(tmp_path / "copy.duckdb")}
    run("sdk1", {**given, "duckdb": duckdb, "prefix": prefix, "token_url": token_url}, tmp_path)
