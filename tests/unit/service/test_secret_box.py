"""Sealed values: nobody without the key reads them, nobody moves or changes one unseen."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws

from syncline.core.errors import SynclineError
from syncline.service.secrets.box import SecretBox
from syncline.service.secrets.keys import load_keys
from syncline.settings import load_server_settings


def test_what_is_sealed_opens_and_shows_nothing() -> None:
    box = SecretBox([os.urandom(32)])
    row = box.seal(uuid4(), {"/password": "hunter2", "/ä": None})
    assert b"hunter2" not in row.sealed + row.wrapped_key
    assert box.open(row) == {"/password": "hunter2", "/ä": None}
    assert box.seal(row.id, {"/password": "hunter2"}).sealed != row.sealed


def test_a_row_that_was_changed_or_moved_does_not_open() -> None:
    box = SecretBox([os.urandom(32)])
    one, two = box.seal(uuid4(), {"a": 1}), box.seal(uuid4(), {"a": 2})
    flipped = one.sealed[:-1] + bytes([one.sealed[-1] ^ 1])
    for bad in (
        replace(one, sealed=flipped),
        replace(one, sealed=b""),
        replace(one, id=two.id),
        replace(one, sealed=two.sealed),
        replace(one, wrapped_key=two.wrapped_key),
    ):
        with pytest.raises(SynclineError, match="cannot be opened"):
            box.open(bad)


def test_another_key_opens_nothing_and_rewrapping_keeps_the_values() -> None:
    old, new = os.urandom(32), os.urandom(32)
    row = SecretBox([old]).seal(uuid4(), {"a": "b"})
    with pytest.raises(SynclineError, match="encrypted with key"):
        SecretBox([new]).open(row)
    both = SecretBox([new, old])
    rewrapped = replace(row, key_id=both.current, wrapped_key=both.rewrap(row))
    assert SecretBox([new]).open(rewrapped) == {"a": "b"}


def test_a_key_of_kms_encrypts_the_key_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path))
    with mock_aws():
        kms_key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
        monkeypatch.setenv("SYNCLINE_SECRET_KEY_KMS", kms_key)
        settings = load_server_settings()
        (made,) = load_keys(settings, make=True)
        text = settings.key_file.read_text()
        assert text.startswith("kms:")
        assert load_keys(settings, make=False) == [made]
        settings.key_file.write_text("kms:" + base64.b64encode(b"something else").decode())
        with pytest.raises(SynclineError, match="AWS KMS did not decrypt"):
            load_keys(settings, make=False)
