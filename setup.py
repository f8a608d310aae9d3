"""The optional C extensions. Everything else about the package is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("src/syncline/connectors/postgres")


class OptionalBuild(build_ext):
    """Build what can be built: without a compiler the installation goes on with the Python twins, and says so."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:  # noqa: BLE001  (whatever a compiler can do wrong, the package works without it)
            print(f"syncline: {ext.name} was not built ({error}); the pure Python version is used", file=sys.stderr)


# Only the sources that are there: the list is a fact of the folder, not of this file.
EXTENSIONS = [
    Extension(
        f"syncline.connectors.postgres.{source.stem}",
        [source.as_posix()],
        depends=[header.as_posix() for header in sorted(FOLDER.glob("*.h"))],
        extra_compile_args=["-O3", "-fno-plt"] if sys.platform == "linux" else ["-O3"],
    )
    for source in sorted(FOLDER.glob("_*.c"))
]

setup(ext_modules=EXTENSIONS, cmdclass={"build_ext": OptionalBuild})
