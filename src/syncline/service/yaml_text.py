"""Reading YAML that people write: what looks like text stays text."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["YAMLError", "load_yaml"]

YAMLError = yaml.YAMLError

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML's safe form, without two of its surprises: ``2024-01-31`` is a text, as in JSON, and the keys ``on``,
    ``off``, ``yes`` and ``no`` are those words. As values they mean true and false, as ever."""

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        for key, _ in node.value:
            if key.tag == _BOOL and key.value.lower() not in ("true", "false"):
                key.tag = "tag:yaml.org,2002:str"


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str) -> Any:
    """The document's value. Raises :data:`YAMLError`, with the place in ``problem_mark``."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is the safe one
