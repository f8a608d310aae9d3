"""Errors of Google's client as ours: kind, and the role to grant or the setting to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["ABORTED", "from_google", "our_errors", "reasons_of"]

#: How BigQuery says that another transaction won; the whole of ours is undone and can be done again.
ABORTED = ("aborted due to concurrent", "could not serialize", "transaction conflict", "failed to commit")

_ROLES = (
    "grant the account roles/bigquery.dataEditor on the dataset and roles/bigquery.jobUser on the project: "
    "gcloud projects add-iam-policy-binding PROJECT --member serviceAccount:NAME --role roles/bigquery.jobUser"
)
_QUOTA = "the quota's name is in the message; raise it in the console (IAM & Admin, Quotas), or sync less often"


@contextmanager
def our_errors(**where: Any) -> Iterator[None]:
    """What Google's client raises within leaves as :class:`SynclineError`."""
    try:
        yield
    except (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException) as error:
        raise from_google(error, **where) from error


def reasons_of(error: Exception) -> set[str]:
    """BigQuery's own words for what is wrong (``quotaExceeded``, ``backendError`` …)."""
    return {str(e.get("reason")) for e in getattr(error, "errors", ()) or () if isinstance(e, dict)}


def from_google(error: Exception, **where: Any) -> SynclineError:
    """The error as ours."""
    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        error = error.cause  # what it was that did not pass in time says more
    kind, hint = _kind(error)
    text = str(getattr(error, "message", None) or error).strip()
    message = text.splitlines()[0] if text else type(error).__name__
    return SynclineError(kind, f"BigQuery: {message[:600]}", hint=hint, where={"connector": "bigquery", **where})


def _kind(error: Exception) -> tuple[ErrorKind, str]:
    if isinstance(error, auth.TransportError | requests.RequestException):
        return ErrorKind.UNREACHABLE, "is the address right, and may this machine reach it?"
    if isinstance(error, auth.GoogleAuthError | api.Unauthorized):
        return (
            ErrorKind.AUTH,
            "give the key of a service account as credentials_json, or sign in: gcloud auth application-default login",
        )
    reasons = reasons_of(error)
    text = str(error).lower()
    if isinstance(error, api.RetryError):
        return ErrorKind.TRANSIENT, "the service did not answer in time; it is tried again"
    if reasons & {"rateLimitExceeded", "jobRateLimitExceeded"} or isinstance(error, api.TooManyRequests):
        return ErrorKind.TRANSIENT, "too many requests at once; it is tried again"
    if reasons & {"quotaExceeded", "billingTierLimitExceeded", "resourcesExceeded", "responseTooLarge"}:
        return ErrorKind.RESOURCE, _QUOTA
    if reasons & {"billingNotEnabled"}:
        return ErrorKind.CONFIG, "switch billing on for the project; the sandbox takes no DML"
    if isinstance(error, api.Forbidden):
        return ErrorKind.PERMISSION, _ROLES
    if isinstance(error, api.NotFound):
        return ErrorKind.CONFIG, "is it there, in that project and location?"
    if isinstance(error, api.Aborted):
        return ErrorKind.TRANSIENT, "the service gave the request up; it is tried again"
    if isinstance(error, api.Conflict):
        return ErrorKind.CONFLICT, "it is there already"
    if any(words in text for words in ABORTED):
        return ErrorKind.TRANSIENT, "another transaction changed the same table; it is tried again"
    if isinstance(error, api.ServerError) or reasons & {"backendError", "internalError", "jobBackendError"}:
        return ErrorKind.TRANSIENT, "the service failed; it is tried again"
    if isinstance(error, api.BadRequest):
        return ErrorKind.SCHEMA, "the statement was refused; nothing of it was done"
    return ErrorKind.INTERNAL, "please report this"
