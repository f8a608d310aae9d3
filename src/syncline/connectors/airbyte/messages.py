"""The protocol's messages as lines: told apart with as little parsing as possible.

Protocol: https://github.com/airbytehq/airbyte-protocol (0.18). A record's ``data`` is not looked into here.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Envelope", "Record", "envelope", "envelopes", "failure", "whole"]


class Record(msgspec.Struct, gc=False):
    stream: str
    data: msgspec.Raw
    namespace: str | None = None


class Envelope(msgspec.Struct, gc=False):
    """Of every other message only the type is read."""

    type: str
    record: Record | None = None


_DECODER = msgspec.json.Decoder(Envelope)
#: Decodes one line; raises msgspec.MsgspecError.
envelope = _DECODER.decode


def envelopes(block: bytes) -> list[Envelope] | None:
    """One for each line, or None when they must be looked at one by one: some are blank, or are no messages."""
    try:
        found = _DECODER.decode_lines(block)
    except msgspec.MsgspecError:
        return None
    return found if len(found) == block.count(b"\n") + 1 else None


def whole(line: bytes) -> dict[str, Any] | None:
    """A message that is no record, as JSON; None for a line that is no message: connectors print such lines too.
    Raises ``data`` for a record that cannot be read, since leaving it out would lose it."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("type"), str) and found["type"] != "RECORD":
        return found
    if b'"RECORD"' in line[:200] and line.lstrip()[:1] == b"{":
        raise SynclineError(
            ErrorKind.DATA,
            "the connector wrote a record that is not valid JSON or lacks its stream",
            hint="nothing after its last state is committed; tell the connector's author",
        )
    return None


_KINDS = {"config_error": ErrorKind.CONFIG, "transient_error": ErrorKind.TRANSIENT, "system_error": ErrorKind.TRANSIENT}


def failure(error: dict[str, Any], redact: Any) -> SynclineError:
    """A TRACE of type ERROR. The connector's stack trace is left to the log."""
    message = str(error.get("message") or error.get("internal_message") or "the connector failed without a reason")
    inner = str(error.get("internal_message") or "")
    hint = "" if not inner or inner == message else f"it says: {inner[:300]}"
    return SynclineError(
        _KINDS.get(str(error.get("failure_type")), ErrorKind.TRANSIENT),
        redact(message[:500]),
        hint=redact(hint) or "see the connector's own log lines",
    )
