"""Whom a connector trusts behind a proxy that inspects TLS with a certificate authority of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["trusting"]

_FOLDER = Path(__file__).with_name("trust")


def trusting(ca_bundle: str | None, further: Mapping[str, str]) -> dict[str, str]:
    """The environment ``further`` with what makes every HTTP library trust the bundle: the configured one, or the one
    that our own environment names. Raises ``config`` when there is no such file."""
    named = ca_bundle or further.get("REQUESTS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    named = named or os.environ.get("SSL_CERT_FILE")
    if not named:
        return dict(further)
    file = Path(named).expanduser().absolute()
    if not file.is_file():
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the file of certificate authorities {file} is not there",
            hint="set ca_bundle (or REQUESTS_CA_BUNDLE, SSL_CERT_FILE) to a file in PEM form",
        )
    path = [str(_FOLDER), *([further["PYTHONPATH"]] if further.get("PYTHONPATH") else [])]
    return {
        **dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"), str(file)),
        **further,
        "PYTHONPATH": os.pathsep.join(path),
    }
