"""What change data capture would stumble over, said beforehand: the server as a whole, its slots and its standbys.

What concerns single tables is in ``check_tables``. Each finding has the statement that mends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Server
from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.connectors.postgres.changes.names import PREFIX, LogNames
from syncline.connectors.postgres.changes.slot import Slot, creation_statement, look_at_slot, slots_like
from syncline.core.errors import ErrorKind
from syncline.sdk.findings import Finding, Severity

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["check_log"]

#: Settings and numbers in one go; a setting that the version does not know is NULL. Walsenders are counted by what
#: everybody may see. Parameters: none.
_FACTS = """
SELECT current_setting('wal_level'),
       current_setting('max_replication_slots')::int,
       (SELECT count(*) FROM pg_catalog.pg_replication_slots),
       current_setting('max_wal_senders')::int,
       (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders()),
       (SELECT r.rolreplication OR r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user),
       (SELECT pg_has_role(current_user, r.oid, 'USAGE')
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolname = 'rds_replication'),
       pg_current_wal_lsn()::text,
       current_setting('max_slot_wal_keep_size', true),
       current_setting('idle_replication_slot_timeout', true),
       current_setting('synchronized_standby_slots', true)
"""

#: Physical standbys, and whether one of them copies slots: its worker shows itself by its name, or where
#: primary_conninfo gives it another by what it asks. Parameters: none.
_STANDBYS = """
SELECT (
           SELECT count(*)
           FROM pg_catalog.pg_stat_replication AS r
           WHERE r.state = 'streaming'
             AND NOT EXISTS (
                 SELECT FROM pg_catalog.pg_replication_slots AS s WHERE s.active_pid = r.pid AND s.slot_type = 'logical'
             )
       ),
       EXISTS (
           SELECT
           FROM pg_catalog.pg_stat_activity AS a
           WHERE a.pid <> pg_backend_pid()
             AND (
                 a.application_name LIKE '%slotsync worker'
                 OR a.query ~ '^SELECT slot_name, plugin.* FROM pg_catalog.pg_replication_slots WHERE failover'
             )
       )
"""


@dataclass(frozen=True, kw_only=True)
class _Facts:
    wal_level: str
    most_slots: int
    slots: int
    most_senders: int
    senders: int
    replicates: bool
    rds: bool | None
    end: int
    keep: str | None
    idle: str | None
    awaited: str | None


def check_log(session: Session, capture: ChangeCapture, names: LogNames, server: Server) -> list[Finding]:
    """Findings about the server. The session is in a transaction of ours. On a standby nothing else is looked at."""
    if server.standby:
        return [
            _error(
                "the server is a standby: slots and publications are made at the primary",
                "set host to the primary, or to a name that always leads there",
            )
        ]
    row = session.execute(_FACTS.encode()).fetchone()
    assert row is not None
    facts = _Facts(
        wal_level=row[0],
        most_slots=row[1],
        slots=row[2],
        most_senders=row[3],
        senders=row[4],
        replicates=bool(row[5]),
        rds=row[6],
        end=lsn_from_text(row[7]),
        keep=row[8],
        idle=row[9],
        awaited=row[10],
    )
    slot = look_at_slot(session, names.slot)
    found = [*_rights(facts, server), *_capacity(facts, slot)]
    found += _slot(slot, capture, names, server)
    found += _limits(facts, capture)
    found += _orphans(session, names, server, facts)
    if server.version >= 170000 and capture.failover:
        found += _failover(session, facts, slot, names)
    return found


def _rights(facts: _Facts, server: Server) -> Iterator[Finding]:
    if facts.wal_level != "logical":
        yield _error(
            f"wal_level is {facts.wal_level}: the server's log does not hold what change data capture needs",
            "ALTER SYSTEM SET wal_level = logical, then restart the server (on RDS: rds.logical_replication = 1)",
        )
    else:
        yield _ok("wal_level is logical")
    if facts.replicates or facts.rds:
        yield _ok(f"role {server.role} may replicate")
        return
    role = _quoted(server.role)
    right = f"GRANT rds_replication TO {role}" if facts.rds is not None else f"ALTER ROLE {role} REPLICATION"
    yield _error(f"role {server.role} may not read the replication log", right, kind=ErrorKind.PERMISSION)


def _capacity(facts: _Facts, slot: Slot | None) -> Iterator[Finding]:
    if slot is None and facts.slots >= facts.most_slots:
        yield _error(
            f"all {facts.most_slots} replication slots are taken",
            f"ALTER SYSTEM SET max_replication_slots = {facts.most_slots + 4}, then restart the server; or drop one "
            "that nobody needs: SELECT slot_name, active FROM pg_replication_slots",
        )
    active = slot is not None and slot.active_pid is not None
    if not active and facts.senders >= facts.most_senders:
        yield _error(
            f"all {facts.most_senders} walsenders are taken",
            f"ALTER SYSTEM SET max_wal_senders = {facts.most_senders + 4}, then restart the server; or end one: "
            "SELECT pid, application_name FROM pg_stat_replication",
        )


def _slot(slot: Slot | None, capture: ChangeCapture, names: LogNames, server: Server) -> Iterator[Finding]:
    if slot is None:
        if not names.own_slot:
            statement = creation_statement(names.slot, server.version, failover=capture.failover)
            yield _error(f"there is no replication slot {names.slot}, which the configuration names", statement)
        else:
            yield _ok(f"replication slot {names.slot} will be made at the first sync")
        return
    drop = f"SELECT pg_drop_replication_slot('{slot.name}')"
    if slot.plugin != "pgoutput":
        what = f"plugin {slot.plugin}" if slot.plugin else "no plugin: it is a physical slot"
        yield _error(f"replication slot {slot.name} has {what}; pgoutput is needed", f"name another slot, or {drop}")
    elif slot.database != server.database:
        yield _error(
            f"replication slot {slot.name} belongs to database {slot.database}, this is {server.database}",
            f"name another slot, or in {slot.database}: {drop}",
        )
    elif slot.two_phase or slot.temporary:
        what = "decodes prepared transactions early (two_phase)" if slot.two_phase else "is temporary"
        yield _error(f"replication slot {slot.name} {what}", f"name another slot, or {drop}")
    elif slot.lost:
        yield _error(
            f"the server has given up replication slot {slot.name} ({slot.reason or slot.state})",
            f"{drop}; then copy the streams anew: syncline state reset, then sync",
            kind=ErrorKind.CONFLICT,
        )
    elif slot.active_pid is not None:
        yield _warning(
            f"replication slot {slot.name} is being read just now (pid {slot.active_pid})",
            f"if that is not a run of this connection: SELECT * FROM pg_stat_activity WHERE pid = {slot.active_pid}",
        )
    else:
        yield _ok(f"replication slot {slot.name} is there ({slot.state})")


def _limits(facts: _Facts, capture: ChangeCapture) -> Iterator[Finding]:
    if facts.keep not in (None, "-1"):
        yield _warning(
            f"the server gives a slot up when it keeps more than {facts.keep} of log (max_slot_wal_keep_size); the "
            "streams must then be copied anew",
            "keep max_slot_wal_keep_size well above what is written between two runs, or follow continuously",
        )
    if facts.idle not in (None, "0"):
        yield _warning(
            f"the server gives a slot up that nobody has read for {facts.idle} (idle_replication_slot_timeout)",
            "run more often than that, or ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
        )
    yield _ok(
        f"the source keeps at most {capture.max_retained_wal / 1e9:.1f} GB of log for us before {capture.on_budget}"
    )


def _orphans(session: Session, names: LogNames, server: Server, facts: _Facts) -> Iterator[Finding]:
    for slot in slots_like(session, PREFIX):
        if slot.name == names.slot or slot.active_pid is not None or slot.database != server.database:
            continue
        kept = 0 if slot.restart is None else max(facts.end - slot.restart, 0)
        yield _warning(
            f"replication slot {slot.name} has the name of one of ours, nobody reads it, and the server keeps "
            f"{kept / 1e6:.0f} MB of log for it",
            "if no connection with that name is left anywhere: "
            f"SELECT pg_drop_replication_slot('{slot.name}'); DROP PUBLICATION IF EXISTS {_quoted(slot.name)}",
        )


def _failover(session: Session, facts: _Facts, slot: Slot | None, names: LogNames) -> Iterator[Finding]:
    """Whether the slot would be there after a failover, and whether a standby that is down would hold it up."""
    if slot is not None and not slot.failover and names.own_slot:
        yield _warning(
            f"replication slot {slot.name} is not kept on standbys (failover is off)",
            f"while no run reads it, over a replication connection: ALTER_REPLICATION_SLOT {slot.name} (FAILOVER true)",
        )
    row = session.execute(_STANDBYS.encode()).fetchone()
    assert row is not None
    standbys, copied = row
    if standbys and not copied:
        yield _warning(
            f"{standbys} standbys follow this server and none seems to copy its failover slots: after a failover the "
            "streams would have to be copied anew",
            "on a standby: ALTER SYSTEM SET sync_replication_slots = on; also hot_standby_feedback = on, a "
            "primary_slot_name, and a dbname in primary_conninfo; then SELECT pg_reload_conf()",
        )
    elif standbys:
        yield _ok("a standby copies the failover slots of this server")
    for name in [n.strip().strip('"') for n in (facts.awaited or "").split(",") if n.strip()]:
        awaited = look_at_slot(session, name)
        if awaited is None or awaited.active_pid is None:
            yield _warning(
                f"synchronized_standby_slots names {name}, and no standby is connected there: the server holds back "
                "every failover slot until one is, so that no change would arrive",
                f"start that standby, or take {name} out of synchronized_standby_slots and SELECT pg_reload_conf()",
            )


def _quoted(name: str) -> str:
    return compose.Identifier(name).as_string()


def _ok(message: str) -> Finding:
    return Finding(severity=Severity.OK, message=message)


def _warning(message: str, hint: str) -> Finding:
    return Finding(severity=Severity.WARNING, message=message, hint=hint)


def _error(message: str, hint: str, *, kind: ErrorKind = ErrorKind.CONFIG) -> Finding:
    return Finding(severity=Severity.ERROR, message=message, hint=hint, kind=kind)
