"""References: what is one, what is literal, and what they lead to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.core.errors import SynclineError
from syncline.sdk.interpolation import is_reference, literal, references, resolve, variables


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("${env:A}", True),
        ("${vault:a/b#c}", True),
        ("${aws-sm:name}", True),
        ("$${env:A}", False),
        ("x${env:A}", False),
        ("${A}", False),
        ("${other:a}", False),
        ("", False),
    ],
)
def test_a_whole_reference(text: str, is_one: bool) -> None:
    assert is_reference(text) is is_one


def test_references_are_found_anywhere() -> None:
    value = {"a": ["x${env:A}y", {"b": "${file:/f} ${vault:p#k}"}], "c": "$${env:NO} ${NO} ${NAMESPACE}", "d": 1}
    assert list(references(value)) == ["env:A", "file:/f", "vault:p#k"]
    assert list(variables(value)) == ["NO"]
    assert list(references(("${env:A}",))) == ["env:A"]


@given(st.text(alphabet="${}aA:env NAMESPACE"))
def test_a_literal_comes_back_as_it_was(text: str) -> None:
    if not any(references(text)) and "$${env:" not in text.replace(" ", ""):
        assert resolve(literal({"k": [text]})) == {"k": [text]}


def test_a_reference_within_a_literal_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "${B}")  # what it leads to is not followed again
    value: Any = {"host": "db.${env:A}.org", "password": "${x}", "path": "${NAMESPACE}/"}
    assert resolve(literal(value)) == {"host": "db.${B}.org", "password": "${x}", "path": "${NAMESPACE}/"}


def test_an_unknown_provider_is_told_by_place() -> None:
    with pytest.raises(SynclineError, match="unknown secret provider") as caught:
        resolve({"a": [{"b": "${valt:x}"}]})
    assert caught.value.where == {"key": "a[0].b"}
