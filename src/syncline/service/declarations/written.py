"""A configuration as a file says it, without the secrets that stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncline.service import definitions
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.service.secrets.masking import MASK, split
from syncline.store.values import Actor

__all__ = ["masked_as_written"]


def masked_as_written(control: Control, caller: Caller, actor: Actor, written: Mapping[str, Any]) -> dict[str, Any]:
    """A mask in place of each secret that the file holds itself; references to secrets stay."""
    definition = definitions.get(control, caller, actor.role, actor.definition_id)
    model = definitions.connector_of(definition).config_model()
    masked, _ = split((model,), _unmasked(written), {})
    found = _references_kept(masked, written)
    assert isinstance(found, dict)
    return found


def _unmasked(value: Any) -> Any:
    """Masks that a file holds are texts here: there is no older secret to compare with."""
    if isinstance(value, Mapping):
        return {key: _unmasked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_unmasked(each) for each in value]
    return "masked" if value == MASK else value


def _references_kept(masked: Any, written: Any) -> Any:
    if isinstance(written, Mapping) and isinstance(masked, Mapping):
        return {key: _references_kept(masked.get(key), each) for key, each in written.items()}
    if isinstance(written, list) and isinstance(masked, list):
        return [_references_kept(one, other) for one, other in zip(masked, written, strict=True)]
    if masked == MASK and isinstance(written, str) and "${" in written:
        return written
    return masked
