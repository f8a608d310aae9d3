"""Names and values that the destinations of files take, and those that they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from syncline.connectors.files.config import FormatConfig, LocalDestinationConfig, S3DestinationConfig


def s3(**settings: Any) -> S3DestinationConfig:
    return S3DestinationConfig.model_validate({"bucket": "v1-data-lake", **settings})


def test_the_short_names() -> None:
    config = S3DestinationConfig.model_validate(
        {
            "bucket": "v1-data-lake",
            "path_prefix": "bronze/erp/",
            "format": {"file_type": "Parquet", "compression": "SNAPPY"},
            "partitioning": [{"field_name": "_sync_date", "type": "DATE"}],
            "encryption": {"type": "KMS", "key_arn": "arn:aws:kms:us-east-1:123456789012:key/abcd1234"},
        }
    )
    assert config.s3_bucket_name == "v1-data-lake"
    assert config.s3_bucket_path == "bronze/erp/"
    assert (config.format.format_type, config.format.codec) == ("Parquet", "SNAPPY")
    assert config.format.extension == ".parquet"
    assert config.partitioning[0].field_name == "_sync_date"
    assert config.target_file_size == 256_000_000


def test_airbytes_names() -> None:
    config = S3DestinationConfig.model_validate(
        {
            "s3_bucket_name": "lake",
            "s3_bucket_path": "data_sync/test",
            "s3_bucket_region": "",
            "s3_endpoint": "",
            "access_key_id": "A",
            "secret_access_key": "B",
            "role_arn": "",
            "s3_path_format": "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_",
            "file_name_pattern": "{date}_{part_number}",
            "format": {"format_type": "JSONL", "compression": {"compression_type": "No Compression"}},
        }
    )
    assert config.s3_bucket_region is None
    assert config.s3_endpoint is None
    assert config.format.codec == "UNCOMPRESSED"
    assert config.format.extension == ".jsonl"


@pytest.mark.parametrize(
    ("given", "format_type", "codec", "extension"),
    [
        ({}, "Parquet", "SNAPPY", ".parquet"),
        ({"format_type": "parquet", "compression_codec": "zstd"}, "Parquet", "ZSTD", ".parquet"),
        ({"file_type": "PARQUET", "compression": "none"}, "Parquet", "UNCOMPRESSED", ".parquet"),
        ({"type": "csv"}, "CSV", "GZIP", ".csv.gz"),
        ({"format_type": "CSV", "compression": "uncompressed"}, "CSV", "UNCOMPRESSED", ".csv"),
        ({"format_type": "json", "compression": "gzip"}, "JSONL", "GZIP", ".jsonl.gz"),
    ],
)
def test_formats_in_any_case(given: dict[str, Any], format_type: str, codec: str, extension: str) -> None:
    config = FormatConfig.model_validate(given)
    assert (config.format_type, config.codec, config.extension) == (format_type, codec, extension)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"buckte": "x"}, "buckte"),
        ({"format": {"format_type": "CSV", "compression": "SNAPPY"}}, "CSV can be compressed with GZIP"),
        ({"format": {"format_type": "Avro"}}, "'Parquet', 'CSV' or 'JSONL'"),
        ({"access_key_id": "A"}, "access_key_id is given without secret_access_key"),
        ({"s3_path_format": "${STREAM}/"}, "unknown variable ${STREAM}"),
        ({"s3_path_format": "../x/"}, "must not contain"),
        ({"path_prefix": "a/../../b"}, "must not contain .."),
        ({"bucket": "lake/bronze"}, "path_prefix"),
        ({"encryption": {"type": "AES256", "key_arn": "k"}}, "key_arn belongs to type KMS"),
        ({"target_file_size": "many"}, "is not a size"),
        ({"lifecycle": [{"prefix": "x/"}]}, "give transition_days"),
        ({"lifecycle": [{"prefix": "x/", "transition_days": 3}]}, "go together"),
        ({"lifecycle": [{"prefix": "", "expire_days": 3}]}, "would delete the manifests"),
        ({"partitioning": ["a", "a"]}, "listed twice"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        s3(**settings)
    assert says in str(caught.value)


@pytest.mark.parametrize("prefix", ["bronze/", "bronze/erp/_syncline/", "bronze/erp/", "", "bronze/erp/_sync"])
def test_rules_that_would_archive_our_manifests_are_refused(prefix: str) -> None:
    rule = {"prefix": prefix, "transition_days": 30, "storage_class": "glacier"}
    with pytest.raises(ValidationError, match="would archive the manifests below 'bronze/erp/_syncline/'"):
        s3(path_prefix="bronze/erp", lifecycle=[rule])


def test_rules_that_spare_them_are_taken() -> None:
    config = s3(
        path_prefix="bronze/erp",
        lifecycle=[
            {"prefix": "bronze/erp/orders/", "transition_days": 30, "storage_class": "GLACIER", "expire_days": 90},
            {"prefix": "bronze/", "transition_days": 30, "storage_class": "STANDARD_IA"},  # stays readable
        ],
    )
    assert len(config.lifecycle) == 2


def test_local_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, root in (("lake", tmp_path / "lake"), ("~/lake", tmp_path / "home" / "lake")):
        config = LocalDestinationConfig.model_validate({"path": given, "path_prefix": "a/b/"})
        assert config.open_store().root == root / "a" / "b"


def test_sizes_with_units() -> None:
    assert s3(target_file_size="1.5 GB", max_row_group_bytes="16 MiB").target_file_size == 1_500_000_000


def test_secrets_are_not_shown() -> None:
    config = s3(access_key_id="AKIASECRET", secret_access_key="SECRET2")
    assert "SECRET" not in repr(config)
    assert "SECRET" not in repr(config.open_bucket()._access)
