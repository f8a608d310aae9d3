"""The rules of the house, read from the imports of every file: floors, one library in one place, names, exports.

`violations` is a pure function of a file's name and text, so that the second half of this file can plant each kind of
violation and see it caught.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"

# A floor imports only lower floors. Rooms on the same floor do not know each other.
FLOORS = {
    "core": 0,
    "settings": 1,
    "sdk": 1,
    "connectors": 2,
    "quality": 2,
    "engine": 3,
    "store": 3,
    "verify": 3,
    "alerts": 4,
    "jobs": 4,
    "metrics": 4,
    "service": 5,
    "wiring": 6,
    "api": 7,
    "cli": 7,
    "testing": 8,
    "__main__": 8,
}

# What a room may import although the floors forbid it, and why.
EXCEPTIONS = {
    ("cli.demo", "testing.postgres_server"): "the demo brings its own Postgres",
    ("cli.server", "api.serve"): "the command that starts the API; everything else goes through the floors",
}

# One library, one place. `testing` may use any of them: it stands outside.
HOMES = {
    "alembic": ("store",),
    "apprise": ("alerts",),
    "boto3": ("connectors.files", "sdk.files", "sdk.secret_providers", "service.secrets"),
    "botocore": ("connectors.files", "sdk.files", "sdk.secret_providers", "service.secrets"),
    "click": ("cli",),
    "cryptography": ("sdk.mapping.encryption", "service.secrets"),
    "duckdb": ("connectors.duckdb", "sdk.files.staged_view", "sdk.mapping.expressions", "verify"),
    "fastapi": ("api",),
    "httpx": ("connectors.rest_api",),
    "google": ("connectors.bigquery",),
    "great_expectations": ("quality.library",),
    "jwt": ("service.auth",),
    "msgspec": ("connectors.airbyte", "connectors.rest_api", "sdk.records"),
    "opentelemetry": ("metrics",),
    "prometheus_client": ("metrics",),
    "pymysql": ("connectors.mysql",),
    "psycopg": ("connectors.postgres", "verify"),
    "pyiceberg": ("connectors.iceberg", "verify"),
    "ray": ("engine.executors.ray",),
    "rich": ("cli",),
    "sqlalchemy": ("store",),
    "starlette": ("api",),
    "typer": ("cli",),
    "uvicorn": ("api",),
    "yaml": ("service", "cli", "connectors.airbyte"),
}

# What comes from outside into the two lowest floors, besides the standard library.
OUTSIDE = {
    "core": {"pyarrow"},
    "sdk": {"boto3", "botocore", "cryptography", "duckdb", "msgspec", "numpy", "pyarrow", "pydantic", "pydantic_core"},
}

# Code that runs what it reads: work that crosses a process is plain JSON.
PICKLES = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}

NAMELESS = {"common", "commons", "helper", "helpers", "misc", "util", "utils"}


def violations(path: str, text: str) -> list[str]:
    """What the file at `path` (relative to the source directory, with slashes) does against the rules, as sentences."""
    module = _module(path)
    tree = ast.parse(text)
    found = [f"{path}: a file is named for its noun, not {name!r}" for name in module.split(".") if name in NAMELESS]
    for line, imported in _imports(tree):
        where = f"{path}:{line}"
        if imported.startswith("."):
            found.append(f"{where}: imports are absolute, not {imported}")
        elif imported.split(".")[0] == "syncline":
            found += [f"{where}: {reason}" for reason in _against_floors(module, imported)]
        else:
            found += [f"{where}: {reason}" for reason in _against_homes(module, imported.split(".")[0])]
    if path.endswith("__init__.py"):
        found += [f"{path}: {reason}" for reason in _against_exports(module, tree)]
    return found


def _module(path: str) -> str:
    """``syncline/core/batch.py`` -> ``core.batch``; the package itself is the empty string."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    assert parts[0] == "syncline", path
    return ".".join(parts[1:])


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every import of a file, also inside functions and under TYPE_CHECKING, with names that may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level or base.split(".")[0] != "syncline":
                yield node.lineno, base
            else:
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def _within(name: str, home: str) -> bool:
    return name == home or name.startswith(home + ".")


def _against_floors(module: str, imported: str) -> Iterator[str]:
    here, there = module.split(".")[0], imported.removeprefix("syncline").removeprefix(".")
    target = there.split(".")[0]
    if not module or target not in FLOORS:
        if not module and target in FLOORS:
            yield f"the package itself imports nothing of its own (start-up), not {imported}"
        return
    if here not in FLOORS:
        yield f"{here!r} has no floor: say in FLOORS where it stands"
        return
    if any(_within(module, who) and _within(there, what) for who, what in EXCEPTIONS):
        return
    if here == "testing":
        return
    if here == "connectors" and target == "connectors":
        own = ".".join(module.split(".")[:2])
        if not _within(there, own):
            yield f"a connector never imports another connector, not {imported}"
    elif target == here:
        return
    elif target == "connectors":
        # Connectors are found by name; `verify` reads their configuration models, connects as they do, and shares
        # nothing else with them.
        if here != "verify" or there.split(".")[2:3] not in (["config"], ["connection"], ["source_config"]):
            yield f"{here} finds connectors by name and does not import {imported}"
    elif FLOORS[target] == FLOORS[here]:
        yield f"{here} and {target} are on the same floor and do not know each other"
    elif FLOORS[target] > FLOORS[here]:
        yield f"{here} (floor {FLOORS[here]}) must not import {target} (floor {FLOORS[target]})"


def _against_homes(module: str, library: str) -> Iterator[str]:
    here = module.split(".")[0]
    if library in PICKLES:
        yield f"no pickles: {library} runs what it reads"
    if here == "testing":
        return
    homes = HOMES.get(library)
    if homes is not None and not any(_within(module, home) for home in homes):
        yield f"{library} is imported only in {', '.join(homes)}"
    elif here in OUTSIDE and library not in sys.stdlib_module_names | OUTSIDE[here]:
        yield f"{here} is the standard library and {', '.join(sorted(OUTSIDE[here]))}, not {library}"


def _against_exports(module: str, tree: ast.Module) -> Iterator[str]:
    """An `__init__` only exposes; what it takes from its own package or makes is in `__all__`, all of it, sorted."""
    package = f"syncline.{module}".removesuffix(".")
    public: set[str] = set()
    used: set[str] = set()  # from elsewhere: may be exposed, need not
    exported: list[str] | None = None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            if node.name.startswith("__"):
                continue  # a module's own __getattr__ and __dir__
            yield f"an __init__ only exposes: {node.name} is defined elsewhere"
        elif isinstance(node, ast.ImportFrom):
            into = public if _within(node.module or "", package) else used
            into |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            used |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                name = ast.unparse(target)
                if name == "__all__":
                    assert node.value is not None
                    exported = ast.literal_eval(node.value)
                else:
                    public.add(name)
    public = {name for name in public if not name.startswith("_") or name == "__version__"}
    if exported is None:
        if public:
            yield f"no __all__, though it exposes {', '.join(sorted(public))}"
        return
    if exported != sorted(exported, key=_export_order):
        yield f"__all__ is not sorted: {', '.join(sorted(exported, key=_export_order))}"
    if public - set(exported):
        yield f"__all__ lacks {', '.join(sorted(public - set(exported)))}"
    if absent := set(exported) - public - used:
        yield f"__all__ names what is not here: {', '.join(sorted(absent))}"


def _export_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as the linter has it."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)


def _sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _tracked() -> list[Path]:
    """All text files of the repository: what git knows, or, in an unpacked archive, what lies in the known places."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    places = ("src", "tests", "docs", "examples", "benchmarks")
    return [path for place in places for path in (ROOT / place).rglob("*") if path.suffix not in {".pyc", ".so"}]


def _project() -> dict[str, Any]:
    return cast("dict[str, Any]", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def test_the_house_keeps_its_rules() -> None:
    files = _sources()
    assert len(files) > 10
    found = [each for file in files for each in violations(file.relative_to(SOURCE).as_posix(), file.read_text())]
    assert found == []


def test_no_path_of_a_developers_machine() -> None:
    paths = re.compile(r"(?<![\w.$}>)-])/(?:work/(?:main|shared)|tmp/(?:brief|try)|home/\w+/|Users/\w+/|root/\.)")
    found = []
    for file in _tracked():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{file.relative_to(ROOT)}: {match.group()}" for match in paths.finditer(text)]
    assert [each for each in found if not each.startswith("tests/test_architecture.py:")] == []


def test_lock_has_hashes_and_no_hosts() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    pins = re.split(r"\n(?=\S)", text.strip())
    assert len(pins) > 20
    assert [pin.split()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


#: Whole systems of their own, that run in environments of their own; tests make those.
UNLOCKED = {"dbt", "great-expectations"}


def test_every_extra_is_locked() -> None:
    project = _project()
    extras = {name: group for name, group in project["optional-dependencies"].items() if name not in UNLOCKED}
    wanted = {
        re.split(r"[\[<>=!~; ]", requirement)[0].lower()
        for group in [project["dependencies"], *extras.values()]
        for requirement in group
    } - {"syncline"}
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert wanted - locked == set()


def test_listing_connectors_imports_no_driver() -> None:
    points = _project()["entry-points"]
    code = (
        "import sys\n"
        "from syncline.sdk.connector import connectors\n"
        "print(*connectors('source'), *connectors('destination'))\n"
        "print(*sorted({'psycopg', 'boto3', 'botocore', 'duckdb', 'pyarrow.dataset'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, drivers = done.stdout.split("\n")[:2]
    assert names.split() == sorted(points["syncline.sources"]) + sorted(points["syncline.destinations"])
    assert drivers == ""


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("syncline/core/x.py", "import syncline.sdk.source", "floor 0"),
        ("syncline/core/x.py", "def f():\n    from syncline.engine import sync", "floor 0"),
        ("syncline/core/x.py", "from syncline import sdk", "floor 0"),
        ("syncline/core/x.py", "if TYPE_CHECKING:\n    from syncline.jobs.queue import Queue", "floor 0"),
        ("syncline/core/x.py", "import pydantic", "standard library"),
        ("syncline/sdk/x.py", "import orjson", "standard library"),
        ("syncline/sdk/x.py", "from syncline.connectors.postgres import SOURCE", "by name"),
        ("syncline/engine/x.py", "from syncline.store import models", "same floor"),
        ("syncline/store/x.py", "from syncline.engine.ports import Store", "same floor"),
        ("syncline/cli/x.py", "import syncline.api.app", "same floor"),
        ("syncline/cli/x.py", "from syncline.testing import memory", "floor 8"),
        ("syncline/service/x.py", "from syncline.connectors.duckdb.sql import quoted", "by name"),
        ("syncline/verify/x.py", "from syncline.connectors.postgres.reading.source import PostgresSource", "by name"),
        (
            "syncline/connectors/s/x.py",
            "from syncline.connectors.postgres.reading.sql import quoted",
            "another connector",
        ),
        ("syncline/connectors/s/x.py", "import importlib\nimportlib.import_module('syncline.connectors.t')", "another"),
        ("syncline/engine/x.py", "import psycopg", "only in"),
        ("syncline/engine/x.py", "from duckdb import connect", "only in"),
        ("syncline/connectors/postgres/x.py", "import duckdb.typing", "only in"),
        ("syncline/service/x.py", "import typer", "only in"),
        ("syncline/jobs/x.py", "import sqlalchemy.orm", "only in"),
        ("syncline/engine/executors/local.py", "import ray", "only in"),
        ("syncline/jobs/x.py", "import pickle", "pickles"),
        ("syncline/jobs/x.py", "from .queue import Queue", "absolute"),
        ("syncline/sdk/utils.py", "", "noun"),
        ("syncline/helpers/x.py", "", "noun"),
        ("syncline/newroom/x.py", "import syncline.core.batch", "no floor"),
        ("syncline/__init__.py", "from syncline.engine import sync\n__all__ = ['sync']", "start-up"),
        ("syncline/core/__init__.py", "from syncline.core.batch import Batch", "no __all__"),
        ("syncline/core/__init__.py", "from syncline.core.x import A, b\n__all__ = ['b', 'A']", "not sorted"),
        ("syncline/core/__init__.py", "from syncline.core.x import A, b\n__all__ = ['A']", "lacks b"),
        ("syncline/core/__init__.py", "__all__ = ['A']", "not here"),
        ("syncline/core/__init__.py", "def f(): ...\n__all__ = []", "only exposes"),
    ],
)
def test_a_planted_violation_is_caught(path: str, text: str, reason: str) -> None:
    found = violations(path, text)
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "syncline/core/x.py",
            "import json\nimport pyarrow.compute as pc\nfrom syncline.core.errors import SynclineError",
        ),
        (
            "syncline/connectors/postgres/x.py",
            "import psycopg\nfrom syncline.connectors.postgres.reading.sql import quoted",
        ),
        ("syncline/verify/x.py", "import duckdb\nfrom syncline.connectors.duckdb.config import DuckDBConfig"),
        ("syncline/engine/executors/ray.py", "import ray"),
        ("syncline/cli/demo.py", "from syncline.testing.postgres_server import start_postgres"),
        ("syncline/cli/main.py", "import typer\nfrom syncline import __version__"),
        (
            "syncline/testing/x.py",
            "import moto, psycopg\nfrom syncline.connectors.postgres.reading.source import PostgresSource",
        ),
        ("syncline/connectors/s/__init__.py", "from syncline.sdk.x import S\n__all__ = ['SOURCE']\nSOURCE = S()"),
        ("syncline/core/__init__.py", '"""Words."""\nfrom syncline.core.x import B, C, a\n__all__ = ["B", "C", "a"]'),
    ],
)
def test_what_the_house_allows(path: str, text: str) -> None:
    assert violations(path, text) == []
