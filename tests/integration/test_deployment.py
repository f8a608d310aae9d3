"""The files under ``deploy/``, as far as they can be tried without a container engine: the image is not built."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

INSTRUCTIONS = {
    "FROM",
    "RUN",
    "WORKDIR",
    "COPY",
    "ENV",
    "USER",
    "VOLUME",
    "EXPOSE",
    "HEALTHCHECK",
    "STOPSIGNAL",
    "ENTRYPOINT",
    "CMD",
}


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, each with what follows it in one line."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())
    ]


def settings() -> set[str]:
    """All settings of the environment that the program reads."""
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("*.py") if "testing" not in p.parts)
    return set(re.findall(r"SYNCLINE_[A-Z_]+", code))


def test_the_dockerfile_says_what_exists() -> None:
    found = dockerfile()
    assert {word for word, _ in found} <= INSTRUCTIONS
    stages = [rest.partition(" AS ")[2] for word, rest in found if word == "FROM"]
    for rest in (rest for word, rest in found if word == "COPY"):
        *sources, _ = rest.split()
        stage = next((s.partition("=")[2] for s in sources if s.startswith("--from=")), None)
        assert stage is None or stage in stages
        for source in sources if stage is None else ():
            assert (ROOT / source).exists(), source
    environment = " ".join(rest for word, rest in found if word == "ENV")
    assert set(re.findall(r"(SYNCLINE_[A-Z_]+)=", environment)) <= settings()
    # It runs as nobody in particular, writes to its volume alone, and asks for a login because it listens on all.
    assert ("USER", "syncline") in found
    assert "SYNCLINE_HOST=0.0.0.0" in environment
    assert "SYNCLINE_AUTH=required" in environment
    home = next(rest for word, rest in found if word == "VOLUME")
    assert f"SYNCLINE_HOME={home}" in environment
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for extra in re.findall(r"'\.\[(\w+)\]'", " ".join(rest for _, rest in found)):
        assert extra in project["project"]["optional-dependencies"]


def test_the_image_is_built_from_sources_and_from_no_other_build() -> None:
    """``COPY . .`` would take over compiled libraries and whole environments of whoever builds it."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    ignored = {line for line in lines if line and not line.startswith("#")}
    assert {".git", ".venv", "build", "ui/node_modules", "**/*.so"} <= ignored
    needed = ["pyproject.toml", "setup.py", "MANIFEST.in", "requirements.lock", "README.md", "LICENSE"]
    for path in (*needed, "src/syncline/__init__.py", "ui/package.json", "ui/build.py", "ui/src/app.tsx"):
        assert (ROOT / path).is_file(), path
        assert not any(path == each or path.startswith(f"{each}/") for each in ignored), path


def test_the_dockerfiles_constraints_are_the_locks_versions(tmp_path: Path) -> None:
    """Its ``sed``, run."""
    command = next(rest for word, rest in dockerfile() if word == "RUN" and "requirements.lock" in rest)
    sed = command.partition(" > ")[0]
    done = subprocess.run(["bash", "-c", sed], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(lines) > 50
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+( ; .*)?", line), line


def test_the_compose_file_names_what_exists() -> None:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    server = found["services"]["syncline"]
    build = (DEPLOY / server["build"]["context"]).resolve()
    assert (build / server["build"]["dockerfile"]).is_file()
    assert set(server["environment"]) <= settings()
    assert set(server["depends_on"]) <= set(found["services"])
    for service in found["services"].values():
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in found["volumes"]
    # A published port is this machine's alone, and the home in the image is the volume.
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert f"home:{next(rest for word, rest in dockerfile() if word == 'VOLUME')}" in server["volumes"]


def test_the_systemd_unit_is_one(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    text = (DEPLOY / "syncline.service").read_text(encoding="utf-8")
    assert set(re.findall(r"Environment=(SYNCLINE_[A-Z_]+)=", text)) <= settings()
    # The program of the unit is where an administrator puts it; here that is this environment's, and the user is ours.
    program = re.sub(
        r"^ExecStart=\S+", f"ExecStart={Path(sys.executable).parent / 'syncline'}", text, flags=re.MULTILINE
    )
    unit = tmp_path / "syncline.service"
    unit.write_text(re.sub(r"^(User|Group)=.*\n", "", program, flags=re.MULTILINE), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "syncline.service" in line]
    assert ours == []


@pytest.mark.clients
def test_the_dockerfiles_commands_make_a_server_that_is_healthy(tmp_path: Path) -> None:
    """What its first stage runs, in a clean environment and in no image; then the server is asked for its health."""
    command = next(rest for word, rest in dockerfile() if word == "RUN" and "pip install" in rest)
    target = tmp_path / "opt"
    script = command.replace("/opt/syncline", str(target)).replace(
        "/constraints.txt", str(tmp_path / "constraints.txt")
    )
    done = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": f"{target / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SYNCLINE_HOME": str(tmp_path / "home"),
    }
    server = subprocess.Popen(
        ["syncline", "server", "--port", str(port)], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
    finally:
        server.terminate()
        assert server.wait(30) == 0
