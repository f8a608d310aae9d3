"""A connection's policy while its streams follow a log: what of a changed table gets to the destination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName
from syncline.engine.evolution.differences import type_change
from syncline.engine.evolution.policy import Contract, SchemaPolicy, SchemaUpdates
from syncline.sdk.mapping.columns import cast_each
from syncline.sdk.quarantine import value_text

__all__ = ["LogPolicy"]

_RULE = "schema"


@dataclass(kw_only=True)
class LogPolicy:
    """Of one stream, for one attempt. ``tell`` is called once for each new column that is left out."""

    policy: SchemaPolicy
    stream: StreamName
    tell: Callable[[Field], None]
    _left: set[str] = field(default_factory=set)
    _named: dict[str, str] = field(default_factory=dict)  # present name -> the name that the destination keeps

    def hold(self, batch: ChangeBatch, columns: StreamSchema) -> ChangeBatch:
        """The batch with what the destination is to have of it. ``columns`` are those that it has. Raises ``schema``
        where the policy is to stop."""
        if self.policy.follows_all:
            return batch
        batch = self._names_held(batch)
        known = {f.name: f for f in columns.fields}
        renamed = dict(batch.evolution.renamed) if batch.evolution is not None else {}
        fields: list[Field] = []
        arrays: list[pa.Array] = []
        misfits = list(batch.misfits)
        for place, each in enumerate(batch.schema.fields):
            array = batch.data.column(place)
            former = known.get(renamed.get(each.name, each.name))
            if former is None:
                if self._leaves_out(each, array, misfits, columns):
                    misfits = [m for m in misfits if m.column != each.name]
                    continue
            elif type_change(former, each) is not None and former.type != each.type:
                each, array = self._type_held(former, each, array, misfits)  # noqa: PLW2901
            fields.append(each)
            arrays.append(array)
        schema = StreamSchema(fields=tuple(fields))
        if schema == batch.schema:
            return batch
        names = set(schema.names)
        return replace(
            batch,
            schema=schema,
            data=pa.RecordBatch.from_arrays(arrays, schema=schema.arrow()),
            unchanged={name: mask for name, mask in batch.unchanged.items() if name in names},
            misfits=tuple(sorted(misfits, key=lambda m: m.row)),
        )

    def _names_held(self, batch: ChangeBatch) -> ChangeBatch:
        """Renamed columns under the names that the destination keeps."""
        evolution = batch.evolution
        if evolution is not None:
            for new, old in evolution.renamed.items():
                contract = self._contract(old)
                if contract is Contract.FAIL:
                    raise self._stop(f"column {old} is called {new} now")
                if contract is not Contract.EVOLVE:
                    self._named[new] = self._named.pop(old, old)
            evolution = replace(
                evolution, renamed={new: old for new, old in evolution.renamed.items() if new not in self._named}
            )
        mine = {new: old for new, old in self._named.items() if new in batch.schema.names}
        if not mine:
            return batch
        schema = StreamSchema(fields=tuple(replace(f, name=mine.get(f.name, f.name)) for f in batch.schema.fields))
        return replace(
            batch,
            schema=schema,
            data=pa.RecordBatch.from_arrays(list(batch.data.columns), schema=schema.arrow()),
            unchanged={mine.get(name, name): mask for name, mask in batch.unchanged.items()},
            misfits=tuple(replace(m, column=mine.get(m.column, m.column)) for m in batch.misfits),
            evolution=evolution,
        )

    def _leaves_out(self, new: Field, array: pa.Array, misfits: list[Misfit], columns: StreamSchema) -> bool:
        contract = self._contract(new.name)
        if contract is Contract.FAIL:
            raise self._stop(f"column {new.name} was added")
        if contract is Contract.EVOLVE:
            if self._left:
                # The reader tells columns by their place among all it has shown; a gap would mix them up.
                raise self._stop(
                    f"column {new.name} was added after {', '.join(sorted(self._left))}, which are left out"
                )
            return False
        if new.name not in self._left:
            self._left.add(new.name)
            self.tell(new)
        if contract is Contract.QUARANTINE:
            for row in pc.indices_nonzero(array.is_valid()).to_pylist():
                reason = f"new column {new.name} has the value {value_text(array[row])}, and its contract sets it aside"
                misfits.append(Misfit(row=row, column=columns.names[0], text="", reason=reason, rule=_RULE))
        return True

    def _type_held(self, former: Field, now: Field, array: pa.Array, misfits: list[Misfit]) -> tuple[Field, pa.Array]:
        contract = self._contract(former.name)
        if contract is Contract.EVOLVE:
            return now, array
        if contract is Contract.FAIL:
            raise self._stop(f"column {former.name} is of type {now.native or now.type} now")
        made, failed = cast_each(array, lambda part: part.cast(former.type))
        if failed and contract is Contract.FREEZE:
            raise self._stop(f"column {former.name} has a value that its frozen type {former.native} cannot hold")
        for row in failed:
            reason = f"the value does not fit the type {former.native or former.type}, which the contract holds"
            misfits.append(
                Misfit(row=row, column=former.name, text=value_text(array[row]) or "", reason=reason, rule=_RULE)
            )
        return replace(former, name=now.name), made

    def _contract(self, column: str) -> Contract:
        found = self.policy.contract(self.stream, column)
        stops = self.policy.updates is SchemaUpdates.DISABLE_CONNECTION
        return Contract.FAIL if stops and found is Contract.EVOLVE else found

    def _stop(self, what: str) -> SynclineError:
        stops = self.policy.updates is SchemaUpdates.DISABLE_CONNECTION
        return SynclineError(
            ErrorKind.SCHEMA,
            f"{what}, and the connection's policy is to stop then",
            hint="choose what is to become of it (schema_changes)",
            where={"stream": str(self.stream), "policy": self.policy.updates.value if stops else None},
        )
