"""``${aws-sm:name#key}``: AWS Secrets Manager. Without ``#key`` the whole text; with it, that key of a JSON object.

Credentials and region come from the usual AWS environment.
"""

from __future__ import annotations

import json
from functools import lru_cache

from syncline.core.errors import ErrorKind, SynclineError, nearest

__all__ = ["read_secrets_manager"]


def read_secrets_manager(reference: str) -> str:
    """The value. Raises ``config``, ``auth``, ``permission`` or ``unreachable``."""
    name, sharp, key = reference.partition("#")
    text = _secret(name.strip())
    if not sharp:
        return text
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or key not in values:
        near = nearest(key, [str(each) for each in values]) if isinstance(values, dict) else None
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the secret {name} in AWS Secrets Manager has no key {key!r}",
            hint=f"did you mean {near!r}?" if near else "it must be a JSON object with that key",
        )
    value = values[key]
    return value if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=64)
def _secret(name: str) -> str:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
    except ModuleNotFoundError as error:
        raise SynclineError(
            ErrorKind.CONFIG, "${aws-sm:…} needs boto3", hint="pip install 'syncline[aws-secrets]'"
        ) from error
    try:
        found = boto3.client("secretsmanager").get_secret_value(SecretId=name)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "ResourceNotFoundException":
            raise SynclineError(
                ErrorKind.CONFIG,
                f"AWS Secrets Manager has no secret {name}",
                hint="check the name and AWS_REGION",
            ) from error
        denied = "AccessDenied" in code
        raise SynclineError(
            ErrorKind.PERMISSION if denied else ErrorKind.AUTH,
            f"AWS Secrets Manager refuses {name}: {code}",
            hint="grant secretsmanager:GetSecretValue on it" if denied else "check the AWS credentials",
        ) from error
    except (NoCredentialsError, NoRegionError) as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"AWS Secrets Manager cannot be asked: {error}", hint="set the AWS environment"
        ) from error
    except BotoCoreError as error:
        raise SynclineError(
            ErrorKind.UNREACHABLE, f"AWS Secrets Manager cannot be asked: {error}", hint="check network and region"
        ) from error
    return str(found["SecretString"]) if "SecretString" in found else found["SecretBinary"].decode()
