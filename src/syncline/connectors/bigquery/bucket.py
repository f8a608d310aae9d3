"""A bucket of Cloud Storage through which files reach BigQuery: put, named in a load job, removed.

The JSON API is spoken by the libraries that Google's BigQuery client brings; an upload that breaks off goes on where it
was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote as escaped

import google.auth
import requests
from google.auth.transport.requests import AuthorizedSession
from google.resumable_media import DataCorruption, InvalidResponse
from google.resumable_media.requests import ResumableUpload

from syncline.connectors.bigquery.config import BucketLoading
from syncline.connectors.bigquery.errors import our_errors
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Bucket"]

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_GOOGLE = "https://storage.googleapis.com"
_CHUNK = 8 << 20
_SECONDS = 120


class Bucket:
    """The folder of one bucket. ``credentials``: None for the machine's own. Used by one thread at a time."""

    def __init__(self, config: BucketLoading, credentials: Any) -> None:
        self._name, self._folder = config.bucket, config.folder
        self._address = (config.endpoint or _GOOGLE).rstrip("/")
        self._credentials = credentials
        self._made: Any = None

    def put(self, path: Path, name: str) -> str:
        """Write a file as the object of this name; gives its ``gs://`` address. Again is the same."""
        key = self._folder + name
        url = f"{self._address}/upload/storage/v1/b/{escaped(self._name)}/o?uploadType=resumable"
        with self._told(key), path.open("rb") as file:
            upload = ResumableUpload(url, _CHUNK, checksum="md5")
            upload.initiate(self._session, file, {"name": key}, "application/octet-stream", timeout=_SECONDS)
            while not upload.finished:
                upload.transmit_next_chunk(self._session, timeout=_SECONDS)
        return f"gs://{self._name}/{key}"

    def delete(self, name: str) -> None:
        """Remove an object; no error when it is gone."""
        key = self._folder + name
        with self._told(key):
            answer = self._session.delete(f"{self._objects}/{escaped(key, safe='')}", timeout=_SECONDS)
            if answer.status_code != requests.codes.not_found:
                _refuse(answer)

    def names(self, prefix: str) -> Iterator[str]:
        """Names of objects that begin so."""
        wanted = {"prefix": self._folder + prefix, "fields": "items(name),nextPageToken"}
        while True:
            with self._told(self._folder + prefix):
                answer = self._session.get(self._objects, params=wanted, timeout=_SECONDS)
                _refuse(answer)
                page = answer.json()
            for item in page.get("items", ()):
                yield str(item["name"]).removeprefix(self._folder)
            if "nextPageToken" not in page:
                return
            wanted["pageToken"] = page["nextPageToken"]

    def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.close()

    @property
    def _objects(self) -> str:
        return f"{self._address}/storage/v1/b/{escaped(self._name)}/o"

    @property
    def _session(self) -> Any:
        if self._made is None:
            credentials = self._credentials
            if credentials is None:
                credentials, _ = google.auth.default(scopes=[_SCOPE])
            self._made = AuthorizedSession(credentials)
        return self._made

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Within, what the bucket refuses becomes an error of ours."""
        try:
            with our_errors(bucket=self._name):
                yield
        except InvalidResponse as error:
            raise self._error(error.response, key) from error
        except DataCorruption as error:
            raise SynclineError(
                ErrorKind.TRANSIENT,
                f"gs://{self._name}/{key} did not arrive as it was sent",
                hint="it is sent again",
                where={"connector": "bigquery", "bucket": self._name},
            ) from error

    def _error(self, answer: Any, key: str) -> SynclineError:
        status, where = int(answer.status_code), {"connector": "bigquery", "bucket": self._name}
        if status == requests.codes.not_found:
            return SynclineError(
                ErrorKind.CONFIG,
                f"there is no bucket {self._name}",
                hint=f"make it where the dataset is: gcloud storage buckets create gs://{self._name} --location=…; or "
                "correct gcs_bucket_name",
                where=where,
            )
        if status in (requests.codes.unauthorized, requests.codes.forbidden):
            kind = ErrorKind.AUTH if status == requests.codes.unauthorized else ErrorKind.PERMISSION
            return SynclineError(
                kind,
                f"the account may not write gs://{self._name}/{key}",
                hint="grant it roles/storage.objectAdmin on the bucket: gcloud storage buckets add-iam-policy-binding "
                f"gs://{self._name} --member serviceAccount:NAME --role roles/storage.objectAdmin",
                where=where,
            )
        passing = status == requests.codes.too_many_requests or status >= 500
        return SynclineError(
            ErrorKind.TRANSIENT if passing else ErrorKind.CONFIG,
            f"Cloud Storage refused gs://{self._name}/{key} with status {status}: {str(answer.text)[:200]}",
            hint="it is tried again" if passing else "is the bucket's name right?",
            where=where,
        )


def _refuse(answer: Any) -> None:
    if not answer.ok:
        raise InvalidResponse(answer)
