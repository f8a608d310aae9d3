"""The optional C extensions, and the web page. Everything else about the package is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

SOURCES = ("src/syncline/connectors/postgres/*/_*.c", "src/syncline/sdk/*/_*.c")

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


class BuildWithPage(build_py):
    """Builds the page before the package's files are gathered. Without Node or a registry of npm packages the package
    is built without it, and says so: the server then has a page that tells how to build it. A checkout that is used
    where it lies has ``make ui``."""

    def run(self):
        if not self.editable_mode and Path("ui/build.py").is_file():
            sys.path.insert(0, "ui")
            import build

            try:
                self.announce(f"ui: {build.build()}", level=2)
            except build.CannotBuildError as error:
                self.warn(f"the web page is not built: {error}")
        super().run()


setup(ext_modules=EXTENSIONS, cmdclass={"build_py": BuildWithPage})
