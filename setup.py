"""The optional C extensions. Everything else about the package is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup

SOURCES = ("src/syncline/connectors/postgres/*/_*.c", "src/syncline/sdk/mapping/_*.c")

# Only the sources that are there: the list is a fact of the folder, not of this file. `optional`: without a compiler
# the installation goes on with the Python twins and warns "building extension ... failed".
EXTENSIONS = [
    Extension(
        ".".join(source.relative_to("src").with_suffix("").parts),
        [source.as_posix()],
        depends=[header.as_posix() for header in sorted(source.parent.glob("*.h"))],
        extra_compile_args=["-O3", "-fno-plt"] if sys.platform == "linux" else ["-O3"],
        optional=True,
    )
    for pattern in SOURCES
    for source in sorted(Path().glob(pattern))
]

setup(ext_modules=EXTENSIONS)
