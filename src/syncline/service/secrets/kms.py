"""The server's key, encrypted by a key of AWS KMS that never leaves it. Asked once per start."""

from __future__ import annotations

from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["decrypt", "encrypt"]

_CONTEXT = {"purpose": "syncline-secret-key"}


def encrypt(key: bytes, kms_key: str) -> bytes:
    """``kms_key``: id, ARN or alias. Raises ``config`` with AWS's words."""
    return bytes(_call("encrypt", KeyId=kms_key, Plaintext=key, EncryptionContext=_CONTEXT)["CiphertextBlob"])


def decrypt(sealed: bytes, kms_key: str | None) -> bytes:
    named = {} if kms_key is None else {"KeyId": kms_key}
    return bytes(_call("decrypt", CiphertextBlob=sealed, EncryptionContext=_CONTEXT, **named)["Plaintext"])


def _call(action: str, **arguments: Any) -> dict[str, Any]:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError as error:
        raise SynclineError(
            ErrorKind.CONFIG, "SYNCLINE_SECRET_KEY_KMS needs boto3", hint="pip install 'syncline[aws-secrets]'"
        ) from error
    try:
        client = boto3.client("kms", config=Config(connect_timeout=5, read_timeout=10))
        found: dict[str, Any] = getattr(client, action)(**arguments)
    except (BotoCoreError, ClientError) as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"AWS KMS did not {action} the server's key: {error}",
            hint=f"check SYNCLINE_SECRET_KEY_KMS, the AWS credentials and the permission kms:{action.title()}",
        ) from error
    return found
