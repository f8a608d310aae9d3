"""The guide for authors, followed literally: its files written, its commands run, in an empty folder.

Only where a package is put is ours to say: into a folder of the test, not into the environment that runs it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.integration.command import succeed, syncline

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "writing-a-connector.md"
_BLOCK = re.compile(r"^(?:`(?P<file>[\w./-]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_guide_holds_what_it_says(tmp_path: Path) -> None:
    site = tmp_path / "site"
    home = tmp_path / "clean"
    home.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(site),
        "PIP_TARGET": str(site),
        "PIP_NO_DEPS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "SYNCLINE_HOME": str(tmp_path / "home"),
    }
    said = []
    for block in _BLOCK.finditer(GUIDE.read_text()):
        if block["file"]:
            (home / block["file"]).write_text(block["text"])
        elif block["kind"] == "sh":
            done = subprocess.run(
                ["bash", "-eu", "-c", block["text"]], cwd=home, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, (block["text"], done.stdout, done.stderr)
            said.append(done.stdout + done.stderr)
    whole = "\n".join(said)
    assert "7 passed" in whole
    assert "Sirius" in whole
    assert "an increment follows the copy (0 rows are new)" in whole
    assert "FAIL" not in whole


@pytest.mark.slow
def test_the_destination_form_passes_its_suite(tmp_path: Path) -> None:
    site = str(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": site, "SYNCLINE_HOME": str(tmp_path / "home")}
    succeed("connectors", "new", "sink", "--form", "destination", "--folder", tmp_path / "sink")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*pip, str(tmp_path / "sink")], check=True, env=environment)
    ran = subprocess.run(
        [sys.executable, "-m", "syncline", "connectors", "test", str(tmp_path / "sink" / "tests")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert "16 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.clients  # airbyte-cdk, in an environment of its own from the package index
def test_the_manifest_form_passes_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", os.environ.get("SYNCLINE_CONNECTORS_HOME", str(tmp_path / "home")))
    done = syncline("connectors", "install", "manifest", "--json")
    if done.code != 0 and "package index" in done.err:
        pytest.skip("no package index can be reached")
    succeed("connectors", "new", "my-api", "--form", "manifest", "--folder", tmp_path / "my-api")
    ran = subprocess.run(
        [sys.executable, "-m", "syncline", "connectors", "test", str(tmp_path / "my-api" / "tests")],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_new_refuses_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (["Sky!"], "no name for a connector"),
        (["sky", "--form", "rocket"], "one of"),
        (["postgres"], "there is a source postgres already"),
    ):
        done = syncline("connectors", "new", *arguments)
        assert done.code == 3
        assert words in done.text
    (tmp_path / "sky").mkdir()
    (tmp_path / "sky" / "mine").write_text("")
    assert "is not empty" in syncline("connectors", "new", "sky").text
    assert [p.name for p in (tmp_path / "sky").iterdir()] == ["mine"]


def test_a_source_that_breaks_a_promise_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    script = ROOT / "tests" / "integration" / "airbyte" / "scripted.py"
    config = {"streams": {"users": 20}, "api_token": "t", "note": str(tmp_path / "note")}
    path = tmp_path / "source.yaml"

    def write(**more: object) -> None:
        source = {"type": "airbyte", "config": {"command": [sys.executable, str(script)], "config": {**config, **more}}}
        path.write_text(yaml.safe_dump({"source": source}))

    write()
    assert "20 rows have the agreed columns" in succeed("connectors", "test", path).out
    write(acts=[["exit", 1]])
    done = syncline("connectors", "test", path)
    assert done.code == 1
    assert "FAIL" in done.out
