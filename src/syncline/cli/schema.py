"""``syncline schema``: the JSON Schema of the project file."""

from __future__ import annotations

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of the project file, for completion and checks in an editor."""
    from syncline.cli.output import print_json
    from syncline.service.project import project_json_schema

    print_json(project_json_schema())
