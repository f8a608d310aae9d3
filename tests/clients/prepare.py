"""Makes one environment per client library and tool, each with the exact versions of ``requirements/NAME.txt``.

    python tests/clients/prepare.py            all of them
    python tests/clients/prepare.py sdk1 …     these

They go to ``build/clients/NAME``. One that is there with the same pins is left alone. Uses uv where it is installed,
on the machine or beside this Python, and pip elsewhere. Needs a package registry or a folder of wheels, as pip is
configured.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["CLIENTS", "ENVIRONMENTS", "interpreter", "is_ready", "prepare"]

REQUIREMENTS = Path(__file__).parent / "requirements"
FOLDER = Path(__file__).resolve().parents[2] / "build" / "clients"
#: Everything that has pins; of these the clients are what has a script.
ENVIRONMENTS = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))
CLIENTS = tuple(name for name in ENVIRONMENTS if (REQUIREMENTS.parent / "scripts" / f"{name}.py").exists())


def interpreter(name: str) -> Path:
    """The Python of the client's environment; may not exist yet."""
    return FOLDER / name / "bin" / "python"


def is_ready(name: str) -> bool:
    """Whether the environment holds what the pins say now."""
    mark = FOLDER / name / ".pins"
    return mark.exists() and mark.read_text(encoding="utf-8") == _digest(name)


def prepare(name: str) -> None:
    """Make the environment anew. Raises CalledProcessError when something cannot be installed."""
    folder = FOLDER / name
    venv.EnvBuilder(clear=True, with_pip=True, symlinks=True).create(folder)
    pins = str(REQUIREMENTS / f"{name}.txt")
    if uv := shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent):
        # --no-config: the project's own constraints are not the clients'.
        command = [
            uv,
            "pip",
            "install",
            "--no-config",
            "--quiet",
            "--python",
            str(interpreter(name)),
            "--requirement",
            pins,
        ]
    else:
        command = [str(interpreter(name)), "-m", "pip", "install", "--quiet", "--requirement", pins]
    subprocess.run(command, check=True)
    (folder / ".pins").write_text(_digest(name), encoding="utf-8")


def _digest(name: str) -> str:
    return hashlib.sha256((REQUIREMENTS / f"{name}.txt").read_bytes()).hexdigest()


def main(names: list[str]) -> int:
    unknown = set(names) - set(ENVIRONMENTS)
    if unknown:
        print(f"no such client: {', '.join(sorted(unknown))} (there are: {', '.join(ENVIRONMENTS)})")
        return 2
    failed = []
    for name in names or ENVIRONMENTS:
        if is_ready(name):
            print(f"{name}: ready", flush=True)
            continue
        try:
            prepare(name)
        except subprocess.CalledProcessError:
            failed.append(name)
        print(f"{name}: {'cannot be made' if name in failed else 'made'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
