"""What a connection does when its source's tables change: Airbyte's four policies, and a contract for single
columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from syncline.core.stream import StreamName

__all__ = ["Contract", "SchemaPolicy", "SchemaUpdates"]


class SchemaUpdates(StrEnum):
    """Of a connection as a whole, in Airbyte's words."""

    IGNORE = "ignore"  #: the destination stays as it is: new columns and streams are left out
    DISABLE_CONNECTION = "disable_connection"  #: nothing is read until a person has accepted the change
    PROPAGATE_COLUMNS = "propagate_columns"  #: columns are followed, new streams are left out
    PROPAGATE_FULLY = "propagate_fully"  #: columns and streams are followed


class Contract(StrEnum):
    """Of a column."""

    EVOLVE = "evolve"  #: the destination follows
    FREEZE = "freeze"  #: the destination's column stays; a value that does not fit it ends the stream
    QUARANTINE = "quarantine"  #: the destination's column stays; a row whose value does not fit it is set aside
    FAIL = "fail"  #: the stream stops until a person has accepted the change


@dataclass(frozen=True, kw_only=True)
class SchemaPolicy:
    """``contracts``: ``column``, ``stream.column`` or ``*`` -> contract; the most exact one counts. ``backfill``: the
    old rows of a new column get its values after the run, where a destination can change rows."""

    updates: SchemaUpdates = SchemaUpdates.PROPAGATE_FULLY
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    backfill: bool = False

    @property
    def follows_all(self) -> bool:
        """Whether no column is ever held, so that rows need not be looked at."""
        follows = self.updates in (SchemaUpdates.PROPAGATE_COLUMNS, SchemaUpdates.PROPAGATE_FULLY)
        return follows and all(c is Contract.EVOLVE for c in self.contracts.values())

    def contract(self, stream: StreamName, column: str) -> Contract:
        for name in (f"{stream}.{column}", f"{stream.name}.{column}", column, f"{stream}.*", f"{stream.name}.*", "*"):
            if name in self.contracts:
                return self.contracts[name]
        return Contract.FREEZE if self.updates is SchemaUpdates.IGNORE else Contract.EVOLVE

    def to_json(self) -> dict[str, Any]:
        return {
            "updates": self.updates.value,
            "contracts": {name: contract.value for name, contract in self.contracts.items()},
            "backfill": self.backfill,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SchemaPolicy:
        return cls(
            updates=SchemaUpdates(data["updates"]),
            contracts={name: Contract(word) for name, word in data["contracts"].items()},
            backfill=data["backfill"],
        )
