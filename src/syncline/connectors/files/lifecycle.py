"""Lifecycle rules of the bucket. S3 knows only the whole list of rules: whoever writes it writes all of it.

Ours carry ids ``syncline-<connection>-<number>``; every other rule is kept word for word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from syncline.connectors.files.config import ARCHIVES, LifecycleRule, S3DestinationConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.s3 import S3Store
from syncline.sdk.findings import Finding, Severity

__all__ = ["apply_lifecycle", "bucket_rule_findings"]

#: An unfinished copy may wait so long for its next attempt.
_ABORT_DAYS = 7
#: Two connections may write their rules at the same moment, and the call has no condition: look again and repeat.
_ATTEMPTS = 5


def apply_lifecycle(store: S3Store, rules: Sequence[LifecycleRule], connection: str) -> bool:
    """Make the bucket hold exactly ``rules`` of this connection beside everybody else's. True if it had to change.

    Idempotent. Raises ``permission`` with the two actions it needs."""
    wanted = [_as_rule(rule, f"syncline-{connection}-{number}") for number, rule in enumerate(rules, 1)]
    mine = re.compile(f"syncline-{re.escape(connection)}-[0-9]+")
    changed = False
    for _ in range(_ATTEMPTS):
        held, options = _rules(store)
        others = [rule for rule in held if not mine.fullmatch(rule.get("ID", ""))]
        if _same(held, [*others, *wanted]):
            return changed
        _write(store, [*others, *wanted], options)
        changed = True
    raise SynclineError(
        ErrorKind.CONFLICT,
        f"the lifecycle rules of bucket {store.bucket!r} keep changing",
        hint="something else writes them at the same time; run again",
        where={"bucket": store.bucket},
    )


def bucket_rule_findings(store: S3Store, config: S3DestinationConfig) -> list[Finding]:
    """Warnings about rules at the bucket that would harm stages, manifests or data. Without the right to see the rules:
    nothing."""
    try:
        rules, _ = _rules(store)
    except SynclineError as error:
        if error.kind is ErrorKind.PERMISSION and config.lifecycle:
            return [Finding(severity=Severity.ERROR, message=error.message, kind=error.kind, hint=error.hint)]
        return []
    manifests = f"{store.prefix}_syncline/"
    findings = []
    for rule in rules:
        if rule.get("Status") != "Enabled":
            continue
        prefix, name = _prefix(rule), rule.get("ID", "without a name")
        if not (prefix.startswith(store.prefix) or store.prefix.startswith(prefix)):
            continue
        place = prefix or "the bucket's root"
        days = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        if days is not None and days < _ABORT_DAYS:
            findings.append(
                _warning(
                    f"bucket rule {name!r} aborts multipart uploads after {days} days",
                    f"an unfinished copy would lose its stages; set it to {_ABORT_DAYS} days or more",
                )
            )
        if not (manifests.startswith(prefix) or prefix.startswith(manifests)):
            continue
        expires = rule.get("Expiration", {})
        if "Days" in expires or "Date" in expires:
            findings.append(
                _warning(
                    f"bucket rule {name!r} deletes objects below {place}, our manifests among them",
                    f"without them the next sync starts from nothing; let the rule leave {manifests} out",
                )
            )
        if any(t.get("StorageClass") in ARCHIVES for t in rule.get("Transitions", ())):
            findings.append(
                _warning(
                    f"bucket rule {name!r} archives objects below {place}, our manifests among them",
                    f"archived manifests cannot be read; let the rule leave {manifests} out",
                )
            )
    return findings


def _warning(message: str, hint: str) -> Finding:
    return Finding(severity=Severity.WARNING, message=message, hint=hint)


def _as_rule(rule: LifecycleRule, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"ID": name, "Status": "Enabled", "Filter": {"Prefix": rule.prefix}}
    if rule.transition_days is not None:
        made["Transitions"] = [{"Days": rule.transition_days, "StorageClass": rule.storage_class}]
    if rule.expire_days is not None:
        made["Expiration"] = {"Days": rule.expire_days}
    return made


def _rules(store: S3Store) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The bucket's rules, and the options that a write must carry along."""
    from botocore.exceptions import ClientError

    with store.told("GetBucketLifecycleConfiguration"):
        try:
            found = store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
                return [], {}
            raise
    smallest = found.get("TransitionDefaultMinimumObjectSize")
    return list(found["Rules"]), {"TransitionDefaultMinimumObjectSize": smallest} if smallest else {}


def _write(store: S3Store, rules: list[dict[str, Any]], options: Mapping[str, Any]) -> None:
    with store.told("PutBucketLifecycleConfiguration"):
        if rules:
            store.client.put_bucket_lifecycle_configuration(
                Bucket=store.bucket, LifecycleConfiguration={"Rules": rules}, **options
            )
        else:
            store.client.delete_bucket_lifecycle(Bucket=store.bucket)


def _same(held: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    def plain(rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            str(rule.get("ID", rule)): {
                **{k: v for k, v in rule.items() if k not in ("Prefix", "Filter")},
                "_": _prefix(rule),
            }
            for rule in rules
        }

    return plain(held) == plain(wanted)


def _prefix(rule: Mapping[str, Any]) -> str:
    """The key prefix that a rule is for; empty for the whole bucket."""
    where = rule.get("Filter", {})
    return str(rule.get("Prefix") or where.get("Prefix") or where.get("And", {}).get("Prefix") or "")
