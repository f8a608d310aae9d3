"""Names of files and folders."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.files.driver import STREAM, target

from syncline.connectors.files.config import LocalDestinationConfig
from syncline.connectors.files.layout import (
    FileNames,
    folder_name,
    owned_token,
    owner,
    partition_folder,
    stream_folder_format,
    stream_prefix,
)
from syncline.core.stream import StreamName
from syncline.sdk.files.log import stream_folder

AT = datetime(2026, 11, 21, 9, 5, 7, 123456, tzinfo=UTC)


def names(partition: str = "p0", token: int = 3, **settings: Any) -> FileNames:
    config = LocalDestinationConfig.model_validate({"path": "/lake", **settings})
    return FileNames(config=config, target=target(), partition=partition, token=token, at=AT)


def test_the_default_layout() -> None:
    mine = owner("c", STREAM)
    assert names().data("", 0) == f"orders/s1_{mine}-3-p0-0.parquet"
    assert names().data("_sync_date=2026-11-21/", 2) == f"orders/_sync_date=2026-11-21/s1_{mine}-3-p0-2.parquet"
    assert names().quarantine("_syncline/c/x/") == f"_syncline/c/x/quarantine/s1_{mine}-3-p0-0.jsonl"


@pytest.mark.parametrize(
    ("settings", "beginning"),
    [
        ({"s3_path_format": "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_"}, "public/orders/a=1/2026_11_21"),
        ({"s3_path_format": "x//${STREAM_NAME}/${YEAR}/${MONTH}/"}, "x/orders/2026/11/a=1/s1"),
        ({"s3_path_format": "${STREAM_NAME}"}, "a=1/orders"),
        (
            {"file_name_pattern": "{date}-{timestamp}-{part_number}{format_extension}"},
            "orders/a=1/2026_11_21-1795251907123-7",
        ),
        ({"file_name_pattern": "a.{format_extension}"}, "orders/a=1/a"),
        ({"file_name_pattern": "${HOUR}${MINUTE}${SECOND}${MILLISECOND}{sync_id}"}, "orders/a=1/0905070123s1"),
    ],
)
def test_formats_of_users(settings: dict[str, Any], beginning: str) -> None:
    key = names(**settings).data("a=1/", 7)
    assert re.fullmatch(re.escape(beginning) + r"_[0-9a-f]{10}-3-p0-7\.parquet", key), key


def test_uuids_differ() -> None:
    made = names(s3_path_format="${UUID}/${UUID}/")
    assert len({made.data("", 0).rpartition("/")[0] for _ in range(5)}) == 5


@pytest.mark.parametrize("partition", ["p0", "0,500-1000,0", "a/b", "", "ü", "x" * 300])
@pytest.mark.parametrize("format_type", ["Parquet", "CSV", "JSONL"])
def test_a_file_tells_its_owner_and_token(partition: str, format_type: str) -> None:
    made = names(partition, 17, format={"format_type": format_type})
    for key in (made.data("", 4), made.quarantine("q/")):
        name = key.rpartition("/")[2]
        assert owned_token(name, owner("c", STREAM)) == 17
        assert owned_token(name, owner("other", STREAM)) is None
        assert len(name.encode()) < 240
    assert owned_token("part-0000.parquet", owner("c", STREAM)) is None


@given(st.text(min_size=1))
def test_any_name_is_one_safe_part_of_a_path(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    for made in (folder_name(text), stream_folder(text, StreamName(namespace=text, name=text)).split("/")[1]):
        assert "/" not in made
        assert not made.startswith(".")
        assert made.isprintable()


def test_a_stream_may_be_called_as_our_own_folder() -> None:
    assert folder_name("_syncline") == "%5Fsyncline"


def test_streams_have_folders_of_their_own() -> None:
    odd = [
        ("a", "b.c"),
        ("a.b", "c"),
        (None, "a.b.c"),
        (None, "b.c"),
        ("A", "b.c"),
        ("a~", "b"),
        ("a", "~b"),
        (None, "."),
    ]
    long = [(None, "x" * 500 + end) for end in "12"]
    folders = {stream_folder("c", StreamName(namespace=n, name=s)) for n, s in (*odd, *long)}
    assert len(folders) == len(odd) + len(long)
    assert all(len(part.encode()) < 255 for f in folders for part in f.split("/"))


def test_partition_values_are_quoted() -> None:
    fields = LocalDestinationConfig.model_validate({"path": "/x", "partitioning": ["a", "b/c", "d"]}).partitioning
    assert partition_folder(fields, ["x/y=z %é", None, ""]) == "a=x%2Fy%3Dz %25é/b%2Fc=__HIVE_DEFAULT_PARTITION__/d=/"


def test_what_never_changes_of_a_stream() -> None:
    config = LocalDestinationConfig.model_validate({"path": "/x", "s3_path_format": "${STREAM_NAME}/${YEAR}/f_"})
    assert stream_prefix(config, STREAM) == "orders/"
    assert stream_folder_format(config, STREAM) == "orders/${YEAR}/f_"
