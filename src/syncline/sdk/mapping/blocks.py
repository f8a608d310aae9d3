"""A connection's mappings as written: blocks that name streams and say what becomes of them.

    mappings:
      - from: public.users          # table, schema.table, schema.* or *
        to: people                  # {name} and {namespace} stand for the stream's own
        drop: [internal_note]
        steps:
          - hash: [email]
            key: ${env:HASH_KEY}
        field_mappings: {full_name: name}

The order of one block is the order above: columns are chosen (``fields``, ``drop``), then the steps in the order in
which they are written, each seeing what the one before has left, then ``field_mappings`` rename, then the stream gets
its name. Several blocks that match a stream follow one another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic import Field as Option

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.stream import Catalog, Stream, StreamName
from syncline.sdk.mapping.airbyte_mappers import steps_of_mappers
from syncline.sdk.mapping.rows import refused
from syncline.sdk.mapping.steps import checked_step, model_problems

__all__ = ["MappingBlock", "checked_blocks", "mapped_catalog"]


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class MappingBlock(BaseModel):
    """What becomes of the streams that ``from`` names."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str = Option(alias="from", description="table, schema.table, schema.* or *")
    to: str | None = Option(default=None, description="new name, or namespace.name; {name} and {namespace} are known")
    namespace: str | None = Option(default=None, description="new namespace")
    select: bool = Option(default=True, description="false leaves the streams out")
    fields: Annotated[tuple[str, ...] | None, BeforeValidator(_several)] = Option(
        default=None, description="columns to take"
    )
    drop: Annotated[tuple[str, ...], BeforeValidator(_several)] = Option(default=(), description="columns to leave out")
    steps: tuple[dict[str, Any], ...] = Option(default=(), description="one after the other, see docs/mappings.md")
    field_mappings: dict[str, str] = Option(default_factory=dict, description="column -> new name")
    mappers: tuple[dict[str, Any], ...] = Option(default=(), description="Airbyte's mapper objects, before the steps")


def checked_blocks(data: Any) -> tuple[dict[str, Any], ...]:
    """The blocks as plain JSON, their words checked. ``data`` is the list, or a document with it under ``mappings``.
    Raises ``config`` that names the place."""
    if isinstance(data, Mapping) and set(data) == {"mappings"}:
        data = data["mappings"]
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise refused("mappings is not a list of blocks", "begin with: - from: schema.table")
    return tuple(_checked(block, f"mappings[{place}]") for place, block in enumerate(data))


def _checked(data: Any, place: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise refused(f"{place} is no mapping", "begin with: - from: schema.table")
    try:
        block = MappingBlock.model_validate(dict(data))
    except ValidationError as error:
        raise refused(f"{place}: {model_problems(error, MappingBlock)}") from None
    mappers = steps_of_mappers(block.mappers, place)
    steps = [checked_step(step, f"{place}.steps[{i}]") for i, step in enumerate(block.steps)]
    if "*" in block.source and block.to is not None and "{name}" not in block.to:
        raise refused(f"{place}: every stream of {block.source!r} would be called {block.to!r}", "write to: raw_{name}")
    out: dict[str, Any] = {"from": block.source}
    if not block.select:
        out["select"] = False
    out |= {key: value for key, value in (("to", block.to), ("namespace", block.namespace)) if value is not None}
    if block.fields is not None:
        out["fields"] = list(block.fields)
    if block.drop:
        out["drop"] = list(block.drop)
    if mappers or steps:
        out["steps"] = [*mappers, *steps]
    if block.field_mappings:
        out["field_mappings"] = dict(block.field_mappings)
    return out


def mapped_catalog(catalog: Catalog, blocks: Sequence[Mapping[str, Any]]) -> Catalog:
    """The catalog with what the blocks say of each stream in :attr:`Stream.mapping`; without those that they leave out.
    Raises ``config`` for a block that matches nothing."""
    names = {s.name: _matching(s.name, catalog, blocks) for s in catalog.streams}
    for place, block in enumerate(blocks):
        if "*" not in block["from"] and not any(place in found for found in names.values()):
            raise _unmatched(block["from"], catalog)
    kept = []
    for stream in catalog.streams:
        mine = [blocks[place] for place in names[stream.name]]
        if all(block.get("select", True) for block in mine):
            kept.append(_with(stream, mine))
    return Catalog(streams=tuple(kept))


def _with(stream: Stream, blocks: Sequence[Mapping[str, Any]]) -> Stream:
    steps = [step for block in blocks for step in _steps(block)]
    return replace(stream, mapping=(*stream.mapping, *steps)) if steps else stream


def _steps(block: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A block as steps, in its order. ``keep`` and ``name`` are words of our own between here and the mapper."""
    found: list[Mapping[str, Any]] = []
    if "fields" in block:
        found.append({"keep": block["fields"]})
    if "drop" in block:
        found.append({"drop": block["drop"]})
    found.extend(block.get("steps", ()))
    if "field_mappings" in block:
        found.append({"rename": block["field_mappings"]})
    if "to" in block or "namespace" in block:
        found.append({"name": {key: block[key] for key in ("to", "namespace") if key in block}})
    return found


def _matching(name: StreamName, catalog: Catalog, blocks: Sequence[Mapping[str, Any]]) -> list[int]:
    return [place for place, block in enumerate(blocks) if name in _named(block["from"], catalog)]


def _named(pattern: str, catalog: Catalog) -> list[StreamName]:
    """The streams that a block means: by name, by pattern, or by a name that only differs in case and blanks."""
    names = [s.name for s in catalog.streams]
    if "*" in pattern:
        return [n for n in names if _fits(pattern, str(n)) or _fits(pattern, n.name)]
    exact = [n for n in names if pattern in (str(n), n.name)]
    found = exact or [n for n in names if _plain(pattern) in (_plain(str(n)), _plain(n.name))]
    if len(found) > 1:
        raise refused(
            f"{pattern!r} may be {' or '.join(str(n) for n in found)}",
            "write the namespace before the name: schema.table",
        )
    return found


def _fits(pattern: str, name: str) -> bool:
    """Whether a pattern with stars means the name. Each part is taken where it comes first, so that many stars cost no
    more than few."""
    first, *parts, last = pattern.split("*")
    if not name.startswith(first) or not name.endswith(last):
        return False
    place, end = len(first), len(name) - len(last)
    for part in parts:
        found = name.find(part, place, max(end, 0))
        if found < 0:
            return False
        place = found + len(part)
    return place <= end


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.casefold())


def _unmatched(pattern: str, catalog: Catalog) -> SynclineError:
    names = [str(s.name) for s in catalog.streams]
    near = nearest(pattern, [*names, *(s.name.name for s in catalog.streams)])
    some = ", ".join(names[:20])
    return SynclineError(
        ErrorKind.CONFIG,
        f"mapping: the source has no stream {pattern!r}",
        hint=f"did you mean {near!r}?" if near else f"it has: {some}",
    )
