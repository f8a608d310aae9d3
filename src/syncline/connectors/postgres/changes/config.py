"""Configuration of change data capture: ``replication_method: {method: CDC, …}`` of the Postgres source.

Airbyte's names are known; the values of theirs that would lose data are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator

from syncline.connectors.postgres.quantities import Bytes, Seconds
from syncline.sdk.config import ConnectorConfig

__all__ = ["BudgetPolicy", "ChangeCapture", "HeartbeatConfig", "SpoolConfig"]

BudgetPolicy = Literal["pause", "drop_slot_and_plan_resnapshot"]


class HeartbeatConfig(ConnectorConfig):
    """What moves the log on when nobody writes. By default a logical message, which needs no table and no right."""

    interval: Seconds = Field(
        default=10.0, ge=1, description="Seconds between two heartbeats while a connection follows its source."
    )
    table: str | None = Field(
        default=None,
        min_length=1,
        description="schema.table with the columns id (bigint, primary key) and beat_at (timestamptz): one row of it "
        "is updated instead of a logical message. It is made when it is missing and the role may do so.",
    )
    statement: str | None = Field(
        default=None, min_length=1, description="A statement of your own that writes something, run instead."
    )

    @model_validator(mode="after")
    def _one(self) -> HeartbeatConfig:
        if self.table and self.statement:
            raise ValueError("give table or statement, not both")
        return self


class SpoolConfig(ConnectorConfig):
    """Where changes wait on this machine between their arrival and their commit at the destination."""

    path: Path | None = Field(default=None, description="Folder of the spool (default: in the connection's scratch).")
    durable: bool = Field(
        default=False,
        description="The folder outlives this machine's crashes and every run starts with it: the source may then "
        "forget what is safely (fsync) in it, also while the destination is away.",
    )
    max_bytes: Bytes = Field(
        default=20 * 10**9, ge=64 * 2**20, description="The spool never grows beyond this; then reading pauses."
    )


def _heartbeat(value: Any) -> Any:
    if isinstance(value, int | float | str):
        return {"interval": value}
    return value


def _spool(value: Any) -> Any:
    return {"path": value} if isinstance(value, str | Path) else value


class ChangeCapture(ConnectorConfig):
    """Changes come from the server's log through a logical replication slot and a publication."""

    method: Literal["CDC"] = Field(description="CDC: every insert, update, delete and truncate, from the log.")
    plugin: Literal["pgoutput"] = Field(default="pgoutput", description="Only pgoutput, which every server has.")
    replication_slot: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_]{1,63}$",
        description="A slot of yours, used as it is. Default: one named after the connection, which we make and drop.",
    )
    publication: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        description="A publication of yours, used as it is. Default: one named after the connection, which we make, "
        "adapt to the selected tables, and drop.",
    )
    manage: bool = Field(
        default=False,
        description="Set the replica identity of a table (ALTER TABLE … REPLICA IDENTITY) where its updates and "
        "deletes could not be followed otherwise. Without it the statement is only named.",
    )
    slot_timeout: Seconds = Field(
        default=300.0,
        gt=0,
        validation_alias=AliasChoices("slot_timeout", "initial_waiting_seconds"),
        description="How long the making of the slot, or the beginning of a table's copy, may wait for transactions "
        "that are open at the source. (Airbyte's initial_waiting_seconds.)",
    )
    failover: bool = Field(
        default=True, description="PostgreSQL 17 and later: the slot is kept on synchronised standbys too."
    )
    heartbeat: Annotated[HeartbeatConfig, BeforeValidator(_heartbeat)] = Field(
        default_factory=HeartbeatConfig,
        description="What moves the log on when nobody writes: {interval, table or statement}, or only the interval.",
    )
    max_retained_wal: Bytes = Field(
        default=4 * 10**9, ge=2**20, description="How much log the source may keep for us before on_budget is done."
    )
    on_budget: BudgetPolicy = Field(
        default="pause",
        description="pause: stop with an error and leave the slot, so that nothing is lost. "
        "drop_slot_and_plan_resnapshot: drop the slot to save the source's disk; the streams must be copied anew.",
    )
    spool: Annotated[SpoolConfig, BeforeValidator(_spool)] = Field(
        default_factory=SpoolConfig, description="Where changes wait on this machine: {path, durable, max_bytes}."
    )
    invalid_cdc_cursor_position_behavior: Literal["Fail sync"] = Field(
        default="Fail sync",
        description="A log that has a gap stops the run with a plan. Nothing is copied anew unasked.",
    )
    lsn_commit_behaviour: Literal["After loading Data in the destination"] = Field(
        default="After loading Data in the destination",
        description="The slot moves on only when the data is durable at the destination, or in a durable spool.",
    )
    initial_load_timeout_hours: float | None = Field(
        default=None, description="Airbyte's; not needed: the log is read and kept while the first copy runs."
    )
    queue_size: int | None = Field(
        default=None, description="Airbyte's; not needed: what waits is bounded in bytes (spool.max_bytes)."
    )

    @model_validator(mode="before")
    @classmethod
    def _airbyte_heartbeat(cls, value: Any) -> Any:
        """``heartbeat_action_query`` is our ``heartbeat.statement``; an empty one means none."""
        if not isinstance(value, Mapping) or "heartbeat_action_query" not in value:
            return value
        rest = {k: v for k, v in value.items() if k != "heartbeat_action_query"}
        if not (statement := value["heartbeat_action_query"]):
            return rest
        if "heartbeat" in rest:
            raise ValueError("heartbeat_action_query is heartbeat.statement: give one of the two")
        return {**rest, "heartbeat": {"statement": statement}}

    @field_validator("invalid_cdc_cursor_position_behavior", mode="before")
    @classmethod
    def _no_silent_copy(cls, value: Any) -> Any:
        if value == "Re-sync data":
            raise ValueError(
                "'Re-sync data' is not done unasked: after a gap the run stops and names the command that copies "
                "anew; write 'Fail sync' or leave the key out"
            )
        return value

    @field_validator("lsn_commit_behaviour", mode="before")
    @classmethod
    def _no_early_confirmation(cls, value: Any) -> Any:
        if value == "While reading Data":
            raise ValueError(
                "'While reading Data' loses changes when a run fails; to let the source forget early, give the spool a "
                "folder that lasts and set spool.durable: true"
            )
        return value
