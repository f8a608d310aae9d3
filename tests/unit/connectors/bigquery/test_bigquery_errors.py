"""Google's errors as ours, and the configuration. The errors are made as the client makes them: there is no service
here that would refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from pydantic import ValidationError

from syncline.connectors.bigquery.config import BigqueryDestinationConfig, BucketLoading
from syncline.connectors.bigquery.errors import from_google, our_errors
from syncline.connectors.bigquery.warehouse import Script
from syncline.core.errors import ErrorKind, SynclineError


def _google(status: int, message: str, reason: str = "") -> Exception:
    made: Exception = api.from_http_status(status, message, errors=[{"reason": reason, "message": message}])
    return made


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (_google(403, "Access Denied: Dataset a:b", "accessDenied"), ErrorKind.PERMISSION, "roles/bigquery.jobUser"),
        (_google(403, "Quota exceeded: too many table updates", "quotaExceeded"), ErrorKind.RESOURCE, "quota"),
        (_google(403, "Exceeded rate limits", "rateLimitExceeded"), ErrorKind.TRANSIENT, "again"),
        (_google(403, "Billing has not been enabled", "billingNotEnabled"), ErrorKind.CONFIG, "billing"),
        (_google(401, "Invalid Credentials", "authError"), ErrorKind.AUTH, "credentials_json"),
        (auth.RefreshError("invalid_grant: Token has been expired"), ErrorKind.AUTH, "credentials_json"),
        (auth.TransportError("no route"), ErrorKind.UNREACHABLE, "address"),
        (requests.ConnectionError("refused"), ErrorKind.UNREACHABLE, "address"),
        (api.RetryError("15 s exceeded", requests.ConnectionError("refused")), ErrorKind.UNREACHABLE, "address"),
        (_google(404, "Not found: Table a:b.c", "notFound"), ErrorKind.CONFIG, "location"),
        (_google(503, "try again", "backendError"), ErrorKind.TRANSIENT, "again"),
        (_google(400, "Transaction is aborted due to concurrent update", "invalidQuery"), ErrorKind.TRANSIENT, "again"),
        (_google(400, "Failed to commit: conflict", "invalidQuery"), ErrorKind.TRANSIENT, "again"),
        (_google(400, "Syntax error", "invalidQuery"), ErrorKind.SCHEMA, "refused"),
    ],
)
def test_errors(error: Exception, kind: ErrorKind, hint: str) -> None:
    found = from_google(error, stream="shop.items")
    assert found.kind is kind
    assert hint in found.hint
    assert found.where == {"connector": "bigquery", "stream": "shop.items"}


def test_only_googles_errors_are_taken() -> None:
    with pytest.raises(SynclineError), our_errors():
        raise _google(500, "broken")
    with pytest.raises(KeyError), our_errors():
        raise KeyError("mine")


def _config(**more: Any) -> BigqueryDestinationConfig:
    return BigqueryDestinationConfig.model_validate({"project_id": "p-1", "dataset_id": "d", **more})


def test_airbytes_configuration_is_taken() -> None:
    key = {"client_email": "a@b", "private_key": "-----", "token_uri": "https://x"}
    config = _config(
        dataset_location="EU",
        loading_method={"method": "Standard"},
        credentials_json=json.dumps(key),
        transformation_priority="batch",
    )
    assert "-----" not in repr(config)
    assert config.dataset == ("p-1", "d")
    assert _config(dataset_id="other:d").dataset == ("other", "d")
    assert _config(credentials_json="").credentials_json is None
    staging = {
        "method": "GCS Staging",
        "gcs_bucket_name": "our-bucket",
        "gcs_bucket_path": "/a/b/",
        "keep_files_in_gcs-bucket": "Delete all tmp files from GCS",
        "credential": {"credential_type": "HMAC_KEY", "hmac_key_access_id": "x", "hmac_key_secret": "hidden"},
    }
    through = _config(loading_method=staging).loading_method
    assert isinstance(through, BucketLoading)
    assert (through.bucket, through.folder) == ("our-bucket", "a/b/")
    assert "hidden" not in repr(through)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"loading_method": {"method": "GCS Staging"}}, "gcs_bucket_name"),
        ({"loading_method": "Other"}, "Standard"),
        ({"credentials_json": "{"}, "not JSON"),
        ({"credentials_json": "{}"}, "service account"),
        ({"dataset_id": "a-b"}, "dataset's name"),
        ({"project_id": "My Project"}, "project's id"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_bad_configurations(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _config(**more)


def test_a_script_binds_its_values() -> None:
    script = Script()
    script.add(f"UPDATE t SET a = {script.value('its')} WHERE b = {script.value(3)}")
    assert script.transaction == "BEGIN TRANSACTION;\nUPDATE t SET a = @v0 WHERE b = @v1;\nCOMMIT TRANSACTION;"
    assert script.values == {"v0": "its", "v1": 3}
