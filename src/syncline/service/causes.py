"""What is known to go wrong, as a table: how it is recognised, why it happens, and the commands that find out and mend
it. Words of the systems concerned; ``{host}`` and its like are filled in from the error's place where it says so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["CAUSES", "Cause", "Diagnosis", "diagnose"]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """``pattern`` (regular expression, without regard to case) is looked for in the error's text, then in the log;
    ``kinds`` restricts it to errors of these kinds, ``connectors`` to such a connector in the error's place."""

    name: str
    pattern: str
    because: str
    commands: tuple[str, ...]
    kinds: tuple[ErrorKind, ...] = ()
    connectors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """``evidence`` is the line that it was seen in; ``commands`` find out more and mend it."""

    name: str
    because: str
    evidence: str
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "because": self.because,
            "evidence": self.evidence,
            "commands": list(self.commands),
        }


_K = ErrorKind
CAUSES: tuple[Cause, ...] = (
    Cause(
        name="connection refused",
        pattern=r"connection refused|refused the connection",
        because="nothing listens at that host and port, or a firewall or security group turns us away; behind a "
        "bastion, the tunnel is not there",
        commands=(
            "nc -vz {host} {port}",
            "security groups and firewalls: let this machine in on the server's port",
            "ssh -N -L 5432:{host}:{port} USER@BASTION   # then host: localhost",
            "syncline check FILE",
        ),
    ),
    Cause(
        name="host not found",
        pattern=r"name or service not known|could not translate host name|failed to resolve host|nodename nor servname"
        r"|getaddrinfo failed",
        because="this machine's name service does not know the host: a typing error, or a name that only a VPN knows",
        commands=("getent hosts {host}", "syncline check FILE"),
    ),
    Cause(
        name="replication slot missing",
        pattern=r"replication slot .*(does not exist|dropped|there is no|given up|invalidated|not found)"
        r"|there is no replication slot|slot .* has moved on",
        because="the slot that kept the source's log for us was dropped, invalidated or moved on by others: changes "
        "since then are not there any more, so the streams must be copied anew",
        commands=(
            "SELECT slot_name, plugin, active, wal_status, restart_lsn, confirmed_flush_lsn FROM pg_replication_slots;",
            "SELECT pg_create_logical_replication_slot('NAME', 'pgoutput');   -- only for a slot of your own",
            "SHOW max_slot_wal_keep_size;   -- raise it, so that the slot outlives longer breaks",
            "syncline state reset FILE   # copies anew; the old rows stay until the new ones are whole",
        ),
    ),
    Cause(
        name="wal_level",
        pattern=r"wal_level",
        because="the server does not write what logical decoding needs",
        commands=("ALTER SYSTEM SET wal_level = logical;   -- then restart the server", "SHOW wal_level;"),
    ),
    Cause(
        name="S3 permission denied",
        pattern=r"access ?denied|s3:[A-Za-z]+|not authorized to perform|\b403\b",
        kinds=(_K.PERMISSION, _K.AUTH),
        connectors=("s3", "delta", "iceberg", "files"),
        because="the role or user may not do what was tried; least rights: s3:PutObject, s3:GetObject, "
        "s3:DeleteObject, s3:AbortMultipartUpload on the prefix, s3:ListBucket and s3:GetBucketLocation on the bucket",
        commands=(
            "aws sts get-caller-identity   # who are we?",
            "aws s3api get-bucket-policy --bucket {bucket}",
            (
                "aws iam simulate-principal-policy --policy-source-arn ARN --action-names s3:PutObject s3:GetObject "
                "--resource-arns 'arn:aws:s3:::{bucket}/*'"
            ),
            "with SSE-KMS also kms:GenerateDataKey and kms:Decrypt on the key",
        ),
    ),
    Cause(
        name="wrong credentials",
        pattern=r"password authentication failed|no password supplied|invalid (client|api key|token|credentials)"
        r"|signaturedoesnotmatch|invalidaccesskeyid|unauthorized|\b401\b",
        because="the credentials are wrong, expired or of another system",
        commands=("syncline check FILE", "rotate or correct them where the configuration refers to them"),
    ),
    Cause(
        name="missing right",
        pattern=r"permission denied for|insufficient privilege|must be (owner|superuser)|GRANT ",
        kinds=(_K.PERMISSION,),
        because="the user is known and may not do this",
        commands=("syncline check FILE   # lists each missing right with its GRANT",),
    ),
    Cause(
        name="TLS",
        pattern=r"certificate|ssl|tls",
        kinds=(_K.CONFIG, _K.UNREACHABLE, _K.AUTH),
        because="both sides do not agree on encryption, or the server's certificate is not trusted here",
        commands=(
            "openssl s_client -starttls postgres -connect {host}:{port} -showcerts",
            "set ssl_mode (require, verify-ca, verify-full) and its ca_certificate",
        ),
    ),
    Cause(
        name="no progress",
        pattern=r"nothing was read or committed|lock_timeout|holds a lock|canceling statement due to lock",
        because="something waits for a lock at the source or at the destination",
        commands=(
            (
                "SELECT pid, pg_blocking_pids(pid), state, wait_event_type, left(query, 80) FROM pg_stat_activity "
                "WHERE cardinality(pg_blocking_pids(pid)) > 0;"
            ),
            "end the blocking session, or raise no_progress_seconds",
        ),
    ),
    Cause(
        name="conflict with recovery",
        pattern=r"conflict with recovery|hot.?standby",
        because="a standby cancels long reads when it must apply what the primary has cleaned up",
        commands=("ALTER SYSTEM SET hot_standby_feedback = on;", "or read from the primary, or lower partition_bytes"),
    ),
    Cause(
        name="out of memory",
        pattern=r"signal SIGKILL|out of memory|cannot allocate memory",
        because="the system ended the process for want of memory, unless somebody did",
        commands=("dmesg | grep -i -E 'oom|killed process'", "lower the connection's concurrency"),
    ),
    Cause(
        name="disk full",
        pattern=r"no space left|disk (is )?full|ENOSPC|disk quota",
        because="a disk is full: here (spool, scratch), or at the destination",
        commands=("df -h", "syncline doctor   # shows which folders are ours", "free space, then run again"),
    ),
    Cause(
        name="rate limit",
        pattern=r"\b429\b|rate limit|too many requests|slow ?down|throttl",
        because="the other side asks for fewer requests",
        commands=("lower requests per second or concurrency in the source's configuration", "sync at another hour"),
    ),
    Cause(
        name="too many connections",
        pattern=r"too many (clients|connections)|remaining connection slots",
        because="the server has no connection left",
        commands=("SELECT count(*), usename, state FROM pg_stat_activity GROUP BY 2, 3;", "lower concurrency here"),
    ),
    Cause(
        name="quality gate",
        pattern=r"quality gate|\bgate\b",
        because="the new rows broke a rule; the old ones are still what readers see",
        commands=("syncline quality show FILE", "syncline quarantine list FILE", "mend the source, then sync again"),
    ),
    Cause(
        name="quarantine",
        pattern=r"quarantine",
        because="more rows could not be written than is allowed",
        commands=("syncline quarantine list FILE", "syncline quarantine show FILE STREAM"),
    ),
    Cause(
        name="schema change",
        pattern=r"column .* (is gone|was dropped|changed|does not exist)|type .* changed|schema",
        kinds=(_K.SCHEMA,),
        because="the source's table is not what it was, and the change is not a safe one",
        commands=("syncline discover FILE", "syncline state reset FILE   # copies the stream anew in its new shape"),
    ),
    Cause(
        name="another run",
        pattern=r"another (run|process|attempt|server)|token",
        kinds=(_K.CONFLICT,),
        because="somebody else syncs this connection: a second cron line, a server and a command line",
        commands=("syncline jobs list", "ps -ef | grep 'syncline'"),
    ),
    Cause(
        name="time-out",
        pattern=r"timed? ?out|timeout",
        because="an answer took longer than it may; nothing is lost, the next run goes on from the last commit",
        commands=("nc -vz {host} {port}", "look for locks and load at both ends", "raise timeout_seconds"),
    ),
)

_PLACES = ("host", "port", "bucket")
_ADDRESS = re.compile(
    r"\b(?:at|to|on|host)\s+[\"']?([A-Za-z0-9_.\-]+):(\d{2,5})\b|\b((?:\d{1,3}\.){3}\d{1,3}):(\d{2,5})\b"
)


def diagnose(error: SynclineError | None, log: Sequence[str] = ()) -> list[Diagnosis]:
    """What the error and the log (oldest line first) point to, the likeliest first; empty for what is not known.

    An error's own text counts before the log, an earlier row of the table before a later one."""
    found: dict[str, Diagnosis] = {}
    texts = [] if error is None else [str(error)]
    for text in (*texts, *reversed(log[-2000:])):
        from_error = error is not None and text == texts[0]
        for cause in CAUSES:
            if cause.name in found or not re.search(cause.pattern, text, re.IGNORECASE):
                continue
            if cause.kinds and (error is None or error.kind not in cause.kinds):
                continue
            if cause.connectors and not _named(cause.connectors, error, text):
                continue
            if not from_error and error is not None and found:
                continue  # the error said it; the log would only guess
            commands = tuple(_filled(command, error, text) for command in cause.commands)
            found[cause.name] = Diagnosis(
                name=cause.name, because=cause.because, evidence=text[:500], commands=commands
            )
    order = [cause.name for cause in CAUSES]
    return sorted(found.values(), key=lambda each: order.index(each.name))


def _named(connectors: Sequence[str], error: SynclineError | None, text: str) -> bool:
    connector = str((error.where if error is not None else {}).get("connector", ""))
    return any(name in connector for name in connectors) or "s3" in text.lower()


def _filled(command: str, error: SynclineError | None, text: str) -> str:
    place: dict[str, str] = {name: name.upper() for name in _PLACES}
    address = _ADDRESS.search(text)
    if address is not None:
        place["host"], place["port"] = address[1] or address[3], address[2] or address[4]
    where: Mapping[str, object] = error.where if error is not None else {}
    place |= {name: str(where[name]) for name in _PLACES if where.get(name)}
    for name, value in place.items():
        command = command.replace("{" + name + "}", value)
    return command
