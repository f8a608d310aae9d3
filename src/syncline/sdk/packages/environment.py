"""Connectors from PyPI, each version in an environment of its own below one folder (``home``).

    NAME-VERSION-HASH/           the environment, made by uv; finished once environment.json is there
    NAME-VERSION-HASH.lock.txt   every package with its version and hashes: a second install is the same

The hash is of package, version, Python and overrides. Nothing is installed while a sync runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.packages.catalog import CatalogEntry, find
from syncline.sdk.packages.requirement import allows

__all__ = ["Environment", "Wish", "executable_of", "install", "installed", "wish_for"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
#: Where a package's program is not named after it. One environment of the CDK runs every manifest.
_PROGRAMS = {"airbyte-cdk": "source-declarative-manifest"}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be installed. ``python`` is a version (3.11), a path, or empty for the best that is here;
    ``requires`` is the range of Pythons that is known beforehand (empty: what the package says)."""

    package: str
    version: str
    overrides: tuple[str, ...] = ()
    python: str = ""
    requires: str = ""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A finished one. ``python`` is the version that it was made with, such as 3.11.7."""

    package: str
    version: str
    overrides: tuple[str, ...]
    python: str
    folder: Path

    @property
    def executable(self) -> Path:
        program = _PROGRAMS.get(self.package, self.package.removeprefix("airbyte-"))
        return self.folder / "bin" / program


def wish_for(
    name: str,
    *,
    version: str | None = None,
    overrides: Sequence[str] | None = None,
    python: str | None = None,
    further: Sequence[CatalogEntry] = (),
) -> Wish:
    """From a catalog name or a package; what is not given comes from the catalog, or from ``further`` entries. Raises
    ``config``."""
    entry = find(name, further)
    if entry is not None and entry.form != "pypi":
        raise SynclineError(
            ErrorKind.CONFIG,
            f"{entry.title} exists as {entry.form} only, not on PyPI",
            hint="type: airbyte with manifest: and its file" if entry.form == "manifest" else "it needs a container",
        )
    same = entry is not None and version in (None, entry.version)
    package = entry.package if entry is not None else name
    version = version or (entry.version if entry is not None else None)
    if version is None:
        raise SynclineError(ErrorKind.CONFIG, f"which version of {package}?", hint="give --version (an exact one)")
    if not _NAME.fullmatch(package) or not _VERSION.fullmatch(version):
        raise SynclineError(
            ErrorKind.CONFIG, f"{package}=={version} is no package and exact version", hint="as in airbyte-source-x 1.2"
        )
    known = entry.overrides if entry is not None and same else ()
    return Wish(
        package=package,
        version=version,
        overrides=tuple(known if overrides is None else overrides),
        python=python or "",
        requires=entry.python if entry is not None and same else "",
    )


def installed(home: Path) -> list[Environment]:
    """All finished environments, by name and version."""
    found = []
    for marker in sorted(home.glob("*/environment.json")):
        data = json.loads(marker.read_bytes())
        found.append(Environment(**{**data, "overrides": tuple(data["overrides"]), "folder": marker.parent}))
    return found


def executable_of(home: Path, wish: Wish) -> Path:
    """The program of an installed connector. Raises ``config`` when it is not installed."""
    for environment in installed(home):
        if _meets(environment, wish):
            return environment.executable
    raise SynclineError(
        ErrorKind.CONFIG,
        f"{wish.package} {wish.version} is not installed",
        hint=f"syncline connectors install {wish.package} --version {wish.version}",
    )


def install(home: Path, wish: Wish, tell: Callable[[str], None]) -> Environment:
    """Install, unless it is there. ``tell`` hears what is being done. Raises ``config`` for what cannot be installed;
    then nothing of it stays."""
    home.mkdir(parents=True, exist_ok=True)
    python, version = _interpreter(wish)
    key = json.dumps([wish.package, wish.version, list(wish.overrides), version])
    folder = home / f"{wish.package}-{wish.version}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    with _alone(folder.with_name(folder.name + ".busy"), tell):
        for environment in installed(home):
            if environment.folder == folder:
                tell("it is installed already")
                return environment
        shutil.rmtree(folder, ignore_errors=True)  # of an install that was broken off
        try:
            return _build(wish, folder, python, version, tell)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _build(wish: Wish, folder: Path, python: str, version: str, tell: Callable[[str], None]) -> Environment:
    tell(f"an environment with Python {version}")
    _uv("venv", "--quiet", "--python", python, str(folder))
    lock = folder.with_name(folder.name + ".lock.txt")
    target = str(folder / "bin" / "python")
    if not lock.exists():
        tell(f"which packages {wish.package}=={wish.version} needs")
        wanted, overrides = folder / "wanted.txt", folder / "overrides.txt"
        wanted.write_text(f"{wish.package}=={wish.version}\n")
        overrides.write_text("".join(f"{o}\n" for o in wish.overrides))
        new = folder / "lock.txt"
        compiled = ["pip", "compile", "--quiet", "--generate-hashes", "--python", target, "-o", str(new)]
        _uv(*compiled, *(["--override", str(overrides)] if wish.overrides else []), str(wanted))
        new.replace(lock)
    count = sum("==" in line for line in lock.read_text().splitlines())
    tell(f"installing {count} packages")
    # Exactly the lock's: its pins are already resolved, overrides included.
    _uv("pip", "install", "--no-deps", "--require-hashes", "--python", target, "-r", str(lock), tell=tell)
    requires = _requires_python(folder, wish)
    if not allows(requires, _numbers(version)):
        raise SynclineError(
            ErrorKind.CONFIG,
            f"{wish.package} {wish.version} needs Python {requires}; this would be {version}",
            hint="give --python with a version in that range",
        )
    environment = Environment(
        package=wish.package, version=wish.version, overrides=wish.overrides, python=version, folder=folder
    )
    if not environment.executable.exists():
        raise SynclineError(
            ErrorKind.CONFIG,
            f"{wish.package} {wish.version} brings no program {environment.executable.name}",
            hint="it is no connector; check the package's name",
        )
    data = asdict(replace(environment, folder=Path()))
    del data["folder"]
    marker = folder / "environment.json"
    new = marker.with_suffix(".new")
    new.write_text(json.dumps(data))
    new.replace(marker)
    return environment


def _meets(environment: Environment, wish: Wish) -> bool:
    same = (environment.package, environment.version, environment.overrides)
    python = not wish.python or "/" in wish.python or _within(environment.python, wish.python)
    return same == (wish.package, wish.version, wish.overrides) and python


def _within(version: str, wanted: str) -> bool:
    return _numbers(version)[: len(_numbers(wanted))] == _numbers(wanted)


@contextmanager
def _alone(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """One install of an environment at a time on this machine."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process installs it: waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _interpreter(wish: Wish) -> tuple[str, str]:
    """Path and version of the Python to use: the wished one, else the best of those that are here. Never downloaded."""
    requires = wish.requires
    seen: list[str] = []
    for path in _candidates(wish.python):
        version = _version_of(path)
        if version is None:
            continue
        seen.append(version)
        named = not wish.python or "/" in wish.python or _within(version, wish.python)
        if named and allows(requires, _numbers(version)):
            return path, version
    wanted = f"Python {wish.python}" if wish.python else f"a Python {requires}" if requires else "a Python"
    found = ", ".join(sorted(set(seen))) or "none"
    raise SynclineError(
        ErrorKind.CONFIG,
        f"{wish.package} {wish.version} needs {wanted}{f' ({requires})' if wish.python and requires else ''};"
        f" this machine has {found}",
        hint="install such a Python and give it with --python (its path)",
    )


def _candidates(wished: str) -> Iterator[str]:
    if "/" in wished:
        yield wished
        return
    # 3.11 ran every connector that was tried; newer and older ones refuse some.
    order = ["3.11", "3.12", "3.10", "3.13", "3.14"]
    for version in [wished, *order] if wished else order:
        folders = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python"), reverse=True)
        yield from map(str, folders)  # pyenv's own programs on PATH are only shims
        found = shutil.which(f"python{version}")
        if found is not None:
            yield found
    yield sys.executable


def _version_of(python: str) -> str | None:
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"[0-9]+", version))


def _requires_python(folder: Path, wish: Wish) -> str:
    stem = re.sub(r"[-_.]+", "_", wish.package)
    for metadata in folder.glob(f"lib/python*/site-packages/{stem}-{wish.version}.dist-info/METADATA"):
        for line in metadata.read_text(errors="replace").split("\n\n", 1)[0].splitlines():
            if line.startswith("Requires-Python:"):
                return line.partition(":")[2].strip()
    return ""


#: What uv says of its work that is worth passing on; it also lists every package.
_STEPS = ("Downloading ", "Building ", "Prepared ", "Installed ")


def _uv(*arguments: str, tell: Callable[[str], None] = lambda text: None) -> None:
    """``tell`` hears each step when it is taken. Raises ``config`` when uv gives up."""
    own = Path(sys.executable).with_name("uv")  # our extra brings it; it need not be on PATH
    program = str(own) if own.exists() else shutil.which("uv")
    if program is None:
        raise SynclineError(ErrorKind.CONFIG, "installing connectors needs uv", hint="pip install 'syncline[airbyte]'")
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    said: list[str] = []
    with subprocess.Popen(
        [program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        for line in map(str.strip, process.stderr):
            said += [line] if line else []
            if line.startswith(_STEPS):
                tell(f"  {line}")
    if process.returncode != 0:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"uv could not do its part ({' '.join(arguments[:2])}): {' '.join(said)[-600:]}",
            hint="check name, version and the way to the package index (proxy, UV_INDEX_URL)",
        )
