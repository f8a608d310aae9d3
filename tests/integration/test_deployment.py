"""The files under ``deploy/``, as far as they can be tried without a container engine: the image is not built."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
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
    assert {".git", ".venv", "build", "ui/node_modules", "**/*.so"} <= set(ignored())
    needed = ["pyproject.toml", "setup.py", "MANIFEST.in", "requirements.lock", "README.md", "LICENSE"]
    for path in (*needed, "src/syncline/__init__.py", "ui/package.json", "ui/build.py", "ui/src/app.tsx"):
        assert (ROOT / path).is_file(), path
        assert not any(path == each or path.startswith(f"{each}/") for each in ignored()), path


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


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def context(folder: Path) -> Path:
    """What ``COPY . .`` takes: the checkout without what is ignored. Nothing that was built here is in it, and no
    repository: it may as well be an archive of the sources."""
    anywhere = {rule.removeprefix("**/") for rule in ignored() if rule.startswith("**/")}
    at_top = {rule for rule in ignored() if not rule.startswith("**/")}

    def left_out(path: str, names: list[str]) -> set[str]:
        at = Path(path).relative_to(ROOT)
        return {
            name
            for name in names
            if any(fnmatch.fnmatchcase(name, rule) for rule in anywhere) or (at / name).as_posix() in at_top
        }

    shutil.copytree(ROOT, folder, ignore=left_out, symlinks=True)
    return folder


def test_what_an_image_is_built_from_holds_no_build_and_no_repository(tmp_path: Path) -> None:
    found = context(tmp_path / "context")
    names = {path.relative_to(found).as_posix() for path in found.rglob("*")}
    assert {"pyproject.toml", "requirements.lock", "setup.py", "src/syncline/api/app.py", "ui/build.py"} <= names
    assert not [name for name in names if name.endswith(".so") or "__pycache__" in name or "node_modules" in name]
    assert not names & {".git", ".venv", "build", "tests"}


@pytest.mark.clients
def test_the_dockerfiles_commands_make_a_server_that_is_healthy(tmp_path: Path) -> None:
    """What its first stage runs, on what ``COPY`` would give it, in a clean environment and in no image; then its
    second stage's command with that stage's settings, and its health check. The base image, its packages and its user
    are not tried here."""
    instructions = dockerfile()
    command = next(rest for word, rest in instructions if word == "RUN" and "pip install" in rest)
    target = tmp_path / "opt"
    script = command.replace("/opt/syncline", str(target)).replace(
        "/constraints.txt", str(tmp_path / "constraints.txt")
    )
    # Only what pip needs to find packages: nothing of this environment may be found in place of what is installed.
    passed = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k.startswith(("PIP_", "SSL_"))}
    path = f"{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=context(tmp_path / "context"),
        env={**passed, "PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    installed = subprocess.run(
        [target / "bin" / "python", "-c", "import syncline; print(*syncline.__path__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert installed.startswith(str(target))
    if shutil.which("gcc", path=path):  # the image has one
        sources = [each.relative_to(ROOT / "src/syncline") for each in (ROOT / "src/syncline").rglob("_*.c")]
        assert sources
        for source in sources:
            assert list((Path(installed) / source.parent).glob(f"{source.stem}.*.so")), source
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    said = dict(re.findall(r"(\w+)=(\S+)", " ".join(rest for word, rest in instructions if word == "ENV")))
    environment = {
        **said,
        "PATH": f"{target / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SYNCLINE_HOME": str(tmp_path / "home"),
        "SYNCLINE_HOST": "127.0.0.1",  # a container's network is its own, a test's is not
        "SYNCLINE_PORT": port,
    }
    run, check = (
        json.loads(rest.partition("CMD ")[2] if word == "HEALTHCHECK" else rest)
        for word, rest in sorted(instructions)
        if word in ("CMD", "HEALTHCHECK")
    )
    server = subprocess.Popen(run, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        healthy = [each.replace(":8000/", f":{port}/") for each in check]
        while subprocess.run(healthy, env=environment, capture_output=True).returncode != 0:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        # What listens on all addresses asks who is there.
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/workspaces", timeout=10)
        assert refused.value.code == 401
    finally:
        server.terminate()
        assert server.wait(60) == 0
