"""Use case: is this machine fit to run Syncline? Changes nothing but a file that is written and taken away again."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from syncline import __version__
from syncline.core.errors import SynclineError
from syncline.settings import Settings

__all__ = ["Look", "examine"]

#: A spool, a spilled sort and logs want some room.
_LEAST_FREE = 2_000_000_000
_LEAST_MEMORY = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Look:
    """One thing that was looked at. ``next`` says what to do unless all is well."""

    area: str
    state: Literal["ok", "warning", "error"]
    sentence: str
    next: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(settings: Settings) -> Iterator[Look]:
    """Look at everything, one after the other; what cannot be looked at is an error of its own."""
    looks: tuple[Callable[[Settings], Iterator[Look]], ...] = (
        _program,
        _native,
        _home,
        _disks,
        _memory,
        _clock,
        _store,
        _server,
    )
    for look in looks:
        try:
            yield from look(settings)
        except SynclineError as error:
            yield Look(area=look.__name__.strip("_"), state="error", sentence=error.message, next=error.hint)
        except OSError as error:
            yield Look(area=look.__name__.strip("_"), state="error", sentence=str(error), next="see the system's log")


def _program(_: Settings) -> Iterator[Look]:
    def version(package: str) -> str:
        return importlib.metadata.version(package)

    yield Look(
        area="versions",
        state="ok",
        sentence=f"Syncline {__version__}, Python {platform.python_version()}, pyarrow {version('pyarrow')}, "
        f"DuckDB {version('duckdb')}, {platform.system()} {platform.machine()}",
    )
    for extra, module in (
        ("postgres", "psycopg"),
        ("s3", "boto3"),
        ("server", "fastapi"),
        ("airbyte", "msgspec"),
        ("alerts", "apprise"),
    ):
        if importlib.util.find_spec(module) is None:
            yield Look(
                area="extras",
                state="warning",
                sentence=f"the extra {extra!r} is not installed",
                next=f"pip install 'syncline[{extra}]' if you need it",
            )


def _native(_: Settings) -> Iterator[Look]:
    """Without a compiler the twins in Python do the work, at a third of the speed."""
    package = Path(__file__).parents[1] / "connectors" / "postgres"
    built = list(package.rglob("_*.so"))
    sources = list(package.rglob("_*.c"))
    if len(built) < len(sources):
        yield Look(
            area="native code",
            state="warning",
            sentence=f"{len(sources) - len(built)} of {len(sources)} native parts of the Postgres connector are not "
            "compiled; their Python twins are used",
            next="install a C compiler and install Syncline again",
        )
    else:
        yield Look(area="native code", state="ok", sentence="compiled")


def _home(settings: Settings) -> Iterator[Look]:
    probe = settings.home / f".doctor-{os.getpid()}"
    probe.write_bytes(b"x")
    probe.unlink()
    mode = settings.home.stat().st_mode & 0o777
    open_to = Look(
        area="home",
        state="warning",
        sentence=f"{settings.home} can be read by others (mode {mode:o})",
        next=f"chmod 700 {settings.home}",
    )
    yield open_to if mode & 0o077 else Look(area="home", state="ok", sentence=f"{settings.home} can be written")


def _disks(settings: Settings) -> Iterator[Look]:
    import tempfile

    for name, folder in (("home", settings.home), ("temporary files", Path(tempfile.gettempdir()))):
        usage = shutil.disk_usage(folder)
        few = usage.free < _LEAST_FREE
        yield Look(
            area="disk",
            state="warning" if few else "ok",
            sentence=f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.0f} GB free for {name} ({folder})",
            next="free some space: changes that wait for a destination are kept there" if few else "",
        )


def _memory(_: Settings) -> Iterator[Look]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _cgroup_limit()
    have = min(total, limit) if limit else total
    few = have < _LEAST_MEMORY
    yield Look(
        area="memory",
        state="warning" if few else "ok",
        sentence=f"{have / 1e9:.1f} GB" + (" (a limit of this container)" if limit and limit < total else ""),
        next="set concurrency: 1 and small batches" if few else "",
    )


def _cgroup_limit() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None


def _clock(_: Settings) -> Iterator[Look]:
    began, steady = time.time(), time.monotonic()
    time.sleep(0.2)
    drift = abs((time.time() - began) - (time.monotonic() - steady))
    year = time.gmtime().tm_year
    wrong = drift > 0.05 or not 2025 <= year <= 2100
    yield Look(
        area="clock",
        state="warning" if wrong else "ok",
        sentence=f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC"
        + (", and it jumps" if drift > 0.05 else ""),
        next="let the clock be set by NTP: schedules, leases of tokens and signed requests need it" if wrong else "",
    )


def _store(settings: Settings) -> Iterator[Look]:
    url = os.environ.get("SYNCLINE_DATABASE_URL") or ""
    file = settings.home / "syncline.db"
    if not url and not file.exists():
        yield Look(area="store", state="ok", sentence="no server was started with this home; none is needed to sync")
        return
    if importlib.util.find_spec("sqlalchemy") is None:
        yield Look(
            area="store",
            state="error",
            sentence="there is a store and the extra 'server' is not installed",
            next="pip install 'syncline[server]'",
        )
        return
    from syncline.store.migrate import revisions
    from syncline.store.probe import probe_store

    began = time.monotonic()
    version, writable = probe_store(url or f"sqlite:///{file}")
    took = time.monotonic() - began
    newest = revisions()[-1]
    where = "Postgres" if url.startswith("postgres") else str(file)
    if version is None or version < newest:
        yield Look(
            area="store",
            state="warning",
            sentence=f"{where} is at revision {version or 'none'}, this program at {newest}",
            next="the next start of the server brings it up to date, after a backup",
        )
    elif version > newest:
        yield Look(
            area="store",
            state="error",
            sentence=f"{where} was written by a newer program (revision {version}, ours {newest})",
            next="install that version or a later one",
        )
    else:
        yield Look(area="store", state="ok", sentence=f"{where} answers in {took * 1000:.0f} ms, revision {version}")
    if not writable:
        yield Look(
            area="store", state="error", sentence=f"{where} cannot be written", next="look at its rights and disk"
        )


def _server(_: Settings) -> Iterator[Look]:
    host, port = os.environ.get("SYNCLINE_HOST") or "127.0.0.1", int(os.environ.get("SYNCLINE_PORT") or 8000)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        there = probe.connect_ex((host, port)) == 0
    if not there:
        yield Look(area="server", state="ok", sentence=f"port {port} of {host} is free")
        return
    import json
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=3) as answer:
            said = json.loads(answer.read())
        if "version" not in said:
            raise ValueError("not ours")
    except (OSError, ValueError):
        yield Look(
            area="server",
            state="warning",
            sentence=f"port {port} of {host} is taken by something else",
            next="start the server with another --port",
        )
        return
    other = said["version"] != __version__
    yield Look(
        area="server",
        state="warning" if other else "ok",
        sentence=f"a server of version {said['version']} answers on {host}:{port}",
        next="restart it, so that it is the version that is installed" if other else "",
    )
