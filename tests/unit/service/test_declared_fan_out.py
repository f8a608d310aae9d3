"""A file with several destinations as a document, and back."""

from __future__ import annotations

from pathlib import Path

import yaml

from syncline.service.declarations.document import block_of, document_of, file_of
from syncline.service.project import load_project


def test_each_destination_is_a_connection_and_all_are_one_in_the_file(tmp_path: Path) -> None:
    said = {
        "sources": {"shop": {"type": "postgres", "config": {"database": "x"}}},
        "destinations": {n: {"type": "duckdb", "config": {"path": str(tmp_path / n)}} for n in ("a", "b", "c")},
        "connections": {
            "shop": {"source": "shop", "destinations": ["a", "b"], "when_behind": "wait", "schedule": "continuous"},
            "late": {"source": "shop", "destination": "c", "after": {"all": ["shop"], "on": "any"}},
        },
    }
    file = tmp_path / "f.yaml"
    file.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    document = document_of(load_project(file))
    assert list(document["connections"]) == ["shop/a", "shop/b", "late"]
    assert document["connections"]["late"]["after"] == {"all": ["shop/a", "shop/b"], "on": "any"}
    part = block_of("shop/b", document["connections"]["shop/b"])
    assert (part.destination, part.schedule) == ("b", "continuous")
    assert part.fan_out is not None
    assert (part.fan_out.connection, part.fan_out.destination, part.fan_out.when_behind) == ("shop", "b", "wait")
    assert file_of(document)["connections"] == said["connections"]


def test_it_is_paused_in_the_file_when_all_are(tmp_path: Path) -> None:
    def part(name: str, **more: object) -> dict[str, object]:
        return {"source": "s", "destination": name, "fan_out": {"connection": "x", "destination": name}, **more}

    for b_enabled, enabled in ((True, True), (False, False)):
        parts = {"x/a": part("a", enabled=False), "x/b": part("b", **({} if b_enabled else {"enabled": False}))}
        found = file_of({"sources": {}, "destinations": {}, "connections": parts})["connections"]["x"]
        assert found["destinations"] == ["a", "b"]
        assert found.get("enabled", True) == enabled
