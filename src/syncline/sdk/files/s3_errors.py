"""The errors of boto3 as ours, with what to do about each: the bucket to make, the right to grant."""

from __future__ import annotations

from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["ACTIONS", "grant", "policy", "s3_error"]

#: Operation -> the IAM action it needs, and whether on the objects (or else on the bucket itself).
ACTIONS: dict[str, tuple[str, bool]] = {
    "GetObject": ("s3:GetObject", True),
    "HeadObject": ("s3:GetObject", True),
    "PutObject": ("s3:PutObject", True),
    "CopyObject": ("s3:PutObject", True),
    "CreateMultipartUpload": ("s3:PutObject", True),
    "UploadPart": ("s3:PutObject", True),
    "CompleteMultipartUpload": ("s3:PutObject", True),
    "AbortMultipartUpload": ("s3:AbortMultipartUpload", True),
    "ListParts": ("s3:ListMultipartUploadParts", True),
    "DeleteObject": ("s3:DeleteObject", True),
    "DeleteObjects": ("s3:DeleteObject", True),
    "ListObjectsV2": ("s3:ListBucket", False),
    "HeadBucket": ("s3:ListBucket", False),
    "ListMultipartUploads": ("s3:ListBucketMultipartUploads", False),
    "GetBucketLocation": ("s3:GetBucketLocation", False),
    "GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration", False),
    "PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration", False),
}

_AUTH = {
    "InvalidAccessKeyId": "the access key is unknown",
    "SignatureDoesNotMatch": "the secret does not belong to the access key",
    "ExpiredToken": "the session token has run out",
    "ExpiredTokenException": "the session token has run out",
    "TokenRefreshRequired": "the session token has run out",
    "InvalidToken": "the session token is not valid",
    "InvalidClientTokenId": "the access key is unknown",
    "UnrecognizedClientException": "the access key is unknown",
    "InvalidSecurity": "the credentials are not valid",
    "NotSignedUp": "the account is not signed up for S3",
}
_PASSING = {
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "OperationAborted",
    "ConditionalRequestConflict",
    "500",
    "502",
    "503",
    "504",
}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507", "XMinioAdminBucketQuotaExceeded"}


def grant(operation: str, bucket: str, prefix: str) -> str:
    """``s3:PutObject on arn:aws:s3:::bucket/prefix*``: the right that an operation needs."""
    action, objects = ACTIONS.get(operation, (f"s3:{operation}", True))
    return f"{action} on arn:aws:s3:::{bucket}" + (f"/{prefix}*" if objects else "")


def policy(bucket: str, prefix: str, *, key_arn: str | None = None, lifecycle: bool = False) -> dict[str, Any]:
    """The least IAM policy with which a destination at this bucket and prefix works, as a document to paste."""
    on_bucket = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    if lifecycle:
        on_bucket += ["s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"]
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": on_bucket, "Resource": f"arn:aws:s3:::{bucket}"},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": f"arn:aws:s3:::{bucket}/{prefix}*",
        },
    ]
    if key_arn:
        statements.append({"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": key_arn})
    return {"Version": "2012-10-17", "Statement": statements}


def s3_error(
    error: Exception, *, operation: str, bucket: str, prefix: str, endpoint: str, key_arn: str | None = None
) -> SynclineError:
    """``error``, raised by ``operation`` (boto3's name of it), as ours. The caller chains it."""
    from botocore import exceptions as boto

    where: dict[str, Any] = {"bucket": bucket, "operation": operation}
    if isinstance(error, boto.ClientError):
        return _refused(error, operation, bucket, prefix, endpoint, key_arn, where)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return SynclineError(
            ErrorKind.AUTH,
            f"no credentials for bucket {bucket!r} were found",
            hint="set access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or AWS_PROFILE, or run where a role is attached",
            where=where,
        )
    if isinstance(error, boto.CredentialRetrievalError | boto.UnauthorizedSSOTokenError | boto.SSOTokenLoadError):
        return SynclineError(
            ErrorKind.AUTH,
            f"the credentials cannot be fetched: {error}",
            hint="log in again (aws sso login)",
            where=where,
        )
    if isinstance(error, boto.SSLError):
        return SynclineError(
            ErrorKind.UNREACHABLE,
            f"no TLS connection with {endpoint}: {error}",
            hint="check s3_endpoint (http or https?) and the certificates; AWS_CA_BUNDLE names a bundle of one's own",
            where=where,
        )
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError):
        return SynclineError(
            ErrorKind.UNREACHABLE,
            f"{endpoint} cannot be reached: {error}",
            hint="check s3_endpoint and s3_bucket_region, the network, a proxy (HTTPS_PROXY) or VPC endpoint",
            where=where,
        )
    if isinstance(error, boto.ParamValidationError):
        return SynclineError(
            ErrorKind.CONFIG, str(error).replace("\n", " "), hint="check the bucket's name", where=where
        )
    return SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}", hint="please report this", where=where)


def _refused(
    error: Any, operation: str, bucket: str, prefix: str, endpoint: str, key_arn: str | None, where: dict[str, Any]
) -> SynclineError:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    message = str(answer.get("Error", {}).get("Message", "")).strip()
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})

    def made(kind: ErrorKind, text: str, hint: str) -> SynclineError:
        return SynclineError(kind, text, hint=hint, where={**where, "code": code})

    if error.operation_name in ("AssumeRole", "AssumeRoleWithWebIdentity"):
        return made(
            ErrorKind.AUTH,
            f"the role cannot be assumed: {message or code}",
            "grant sts:AssumeRole on role_arn to these credentials, and let the role's trust policy name them",
        )
    if code == "NoSuchBucket" or (operation == "HeadBucket" and status == 404):
        return made(
            ErrorKind.CONFIG,
            f"there is no bucket {bucket!r} at {endpoint}",
            f"create it (aws s3 mb s3://{bucket}), or correct the bucket's name",
        )
    if code in _AUTH:
        return made(
            ErrorKind.AUTH,
            f"{_AUTH[code]}",
            "correct access_key_id and secret_access_key (or the AWS environment that they come from)",
        )
    if "kms" in code.lower() or "kms:" in message or "KMS" in message:
        return _kms(made, code, message, key_arn)
    if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled", "UnauthorizedAccess") or status == 403:
        return _denied(made, operation, bucket, prefix, message)
    if code in ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        there = headers.get("x-amz-bucket-region")
        return made(
            ErrorKind.CONFIG,
            f"bucket {bucket!r} is in " + (f"region {there}" if there else "another region"),
            f"set s3_bucket_region: {there}" if there else "set s3_bucket_region to the bucket's region",
        )
    if code == "RequestTimeTooSkewed":
        return made(ErrorKind.CONFIG, "the clock of this machine is wrong", "set it (chrony, ntp): S3 takes 15 minutes")
    if code in _FULL:
        return made(
            ErrorKind.RESOURCE, f"the storage is full: {message or code}", "raise the quota or free space there"
        )
    if code in ("NoSuchUpload", "NoSuchKey", "404", "NotFound"):
        return made(ErrorKind.DATA, f"gone at the server: {message or code}", "something else removed it")
    if code == "InvalidObjectState":
        return made(ErrorKind.DATA, "the object is archived and cannot be read", "restore it: aws s3api restore-object")
    if code in ("NotImplemented", "501", "MethodNotAllowed", "XNotImplemented"):
        return made(
            ErrorKind.CONFIG,
            f"{endpoint} does not know {operation}: {message or code}",
            "Syncline needs multipart uploads and conditional writes (If-None-Match); take another service or version",
        )
    if code == "InvalidBucketName":
        return made(ErrorKind.CONFIG, f"{bucket!r} is no valid name of a bucket", "correct s3_bucket_name")
    if code in _PASSING or status >= 500:
        return made(ErrorKind.TRANSIENT, f"{endpoint} answered {code}: {message}", "it is tried again")
    return made(ErrorKind.INTERNAL, f"{operation} was refused with {code}: {message}", "please report this")


def _denied(made: Any, operation: str, bucket: str, prefix: str, message: str) -> SynclineError:
    right = grant(operation, bucket, prefix)
    if operation in ("GetObject", "HeadObject", "CopyObject"):
        # Without the right to list, S3 says "denied" instead of "not there".
        right += f", and {grant('ListObjectsV2', bucket, prefix)}"
    if operation == "CopyObject":
        right += f", and {grant('GetObject', bucket, prefix)}"
    error: SynclineError = made(
        ErrorKind.PERMISSION, f"{operation} was denied: {message or 'AccessDenied'}", f"grant {right}"
    )
    return error


def _kms(made: Any, code: str, message: str, key_arn: str | None) -> SynclineError:
    key = key_arn or "the bucket's KMS key"
    if "NotFound" in code or "not found" in message.lower() or "does not exist" in message.lower():
        text, hint, kind = f"the KMS key is not found: {message}", "correct encryption.key_arn", ErrorKind.CONFIG
    elif "Disabled" in code or "disabled" in message or "pending deletion" in message:
        text, hint, kind = f"the KMS key cannot be used: {message}", f"enable {key}", ErrorKind.CONFIG
    else:
        text, kind = f"the KMS key was denied: {message}", ErrorKind.PERMISSION
        hint = f"grant kms:GenerateDataKey and kms:Decrypt on {key}, in IAM and in the key's own policy"
    error: SynclineError = made(kind, text, hint)
    return error
