"""YAML as people write it, read as they mean it."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncline.service.declarations.document import document_of
from syncline.service.project import load_project
from syncline.service.yaml_text import YAMLError, load_yaml


def test_a_date_stays_the_text_that_was_written() -> None:
    found = load_yaml("a: 2024-01-31\nb: 2024-01-31 10:00:00\nc: 2024\nd: 1.5\n")
    assert found == {"a": "2024-01-31", "b": "2024-01-31 10:00:00", "c": 2024, "d": 1.5}


def test_words_are_keys_and_truths_are_values() -> None:
    assert load_yaml("{on: on, yes: no, 'off': off, true: 1}") == {"on": True, "yes": False, "off": False, True: 1}


def test_aliases_and_merged_blocks_stay() -> None:
    assert load_yaml("a: &x {on: success}\nb: {<<: *x, c: 1}") == {
        "a": {"on": "success"},
        "b": {"on": "success", "c": 1},
    }


def test_nothing_is_made_from_tags() -> None:
    with pytest.raises(YAMLError):
        load_yaml("!!python/object/apply:os.getcwd []")


def test_a_project_with_both_goes_to_a_server_as_json(tmp_path: Path) -> None:
    file = tmp_path / "project.yaml"
    file.write_text(
        """
sources: {s: {type: stripe, config: {api_key: k, start_date: 2024-01-01}}}
destinations: {d: {type: duckdb, config: {destination_path: /nowhere/x.duckdb}}}
connections:
  a: {source: s, destination: d}
  b: {source: s, destination: d, after: {all: [a], on: failure}}
"""
    )
    document = document_of(load_project(file))
    assert document["sources"]["s"]["config"]["start_date"] == "2024-01-01"
    assert document["connections"]["b"]["after"] == {"all": ["a"], "on": "failure"}
