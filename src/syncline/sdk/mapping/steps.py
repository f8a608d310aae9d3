"""The words of a mapping: what a connection's file or the API may say, checked, and made ready for given columns.

A step is a mapping with one verb: ``{hash: [email], key: "${env:HASH_KEY}"}``. Steps are plain JSON and stay it until a
stream's columns are known; secrets stay references until a step is made ready, in the process that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic import Field as Option

from syncline.core.errors import SynclineError, nearest
from syncline.core.schema import Field
from syncline.sdk.interpolation import is_reference, resolve
from syncline.sdk.mapping.columns import CastStage, DropStage, RenameStage, cast_type
from syncline.sdk.mapping.hashing import METHODS, HashStage
from syncline.sdk.mapping.masking import MaskStage
from syncline.sdk.mapping.rows import Stage, refused

__all__ = ["STEPS", "checked_step", "make_stage", "model_problems", "secret_of"]


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[tuple[str, ...], BeforeValidator(_several), Option(min_length=1)]
Names = Annotated[dict[str, str], Option(min_length=1)]
#: A secret: a reference such as ``${env:NAME}``, never the secret itself.
Secret = Annotated[str, Option(description="a reference: ${env:NAME}, ${file:/path}, ${vault:path#key}")]


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HashStep(_Step):
    """Columns become the SHA-256 of their text, or a keyed hash (HMAC)."""

    hash: Columns
    method: Literal[tuple(METHODS)] = "sha256"  # type: ignore[valid-type]
    key: Secret | None = Option(default=None, description="of a keyed hash (HMAC), by reference")
    suffix: str = Option(default="", description="put behind the columns' names")
    allow_key: bool = Option(
        default=False, description="also where a column is part of the key by which rows are merged"
    )


class MaskStep(_Step):
    """Columns show only a part of their values."""

    mask: Columns
    with_text: str | None = Option(default=None, description="every value becomes this text (default ***)")
    keep_first: int = Option(default=0, ge=0, le=1000)
    keep_last: int = Option(default=0, ge=0, le=1000)
    character: str = Option(default="*", description="stands for each hidden character")
    email: bool = Option(default=False, description="keep the first character and the domain")


class EncryptStep(_Step):
    """Columns are encrypted."""

    encrypt: Columns
    method: Literal["aes-gcm", "rsa"] = "aes-gcm"
    key: str | None = Option(
        default=None, description="the only key, version 1: by reference (RSA: may be given in PEM)"
    )
    keys: dict[str, str] | None = Option(default=None, description="version -> key")
    use: str | None = Option(default=None, description="the version that encrypts (default: the last of keys)")
    suffix: str = ""


class CastStep(_Step):
    """Columns get other types."""

    cast: Names = Option(description="column -> bigint, decimal(12,2), text, date, timestamptz …")
    misfits: Literal["quarantine", "fail"] = Option(
        default="quarantine", description="a value that does not fit takes its row aside, or ends the stream"
    )
    allow_key: bool = False


class DeriveStep(_Step):
    """Columns made by SQL expressions."""

    derive: Names = Option(description="column -> SQL expression over the columns of its row (DuckDB's SQL)")
    timeout: float = Option(default=60.0, gt=0, le=3600, description="seconds that a batch of rows may take")


class FilterStep(_Step):
    """Only rows for which the condition is true pass."""

    filter: str = Option(min_length=1, description="SQL condition over the columns of a row")
    timeout: float = Option(default=60.0, gt=0, le=3600, description="seconds that a batch of rows may take")


class FlattenStep(_Step):
    """A nested column becomes columns of its parts."""

    flatten: str
    depth: int = Option(default=1, ge=1, le=16)
    separator: str = "_"
    keys: dict[str, str] | None = Option(default=None, description="of JSON: key (dotted goes deeper) -> type")
    keep: bool = Option(default=False, description="keep the nested column too")


class DropStep(_Step):
    """Columns go."""

    drop: Columns


class RenameStep(_Step):
    """Columns get other names."""

    rename: Names


STEPS: Mapping[str, type[_Step]] = {
    "cast": CastStep,
    "derive": DeriveStep,
    "drop": DropStep,
    "encrypt": EncryptStep,
    "filter": FilterStep,
    "flatten": FlattenStep,
    "hash": HashStep,
    "mask": MaskStep,
    "rename": RenameStep,
}


def checked_step(data: Any, place: str) -> dict[str, Any]:
    """The step as plain JSON if its words are known and fit. Raises ``config`` that names the place."""
    if not isinstance(data, Mapping):
        raise refused(f"{place}: a step is a mapping, such as {{hash: [email]}}")
    verbs = [str(key) for key in data if key in STEPS]
    if len(verbs) != 1:
        unknown = next((str(key) for key in data if key not in STEPS), "")
        near = nearest(unknown, list(STEPS)) if not verbs else None
        what = f"{' and '.join(verbs)} in one step" if verbs else f"unknown step {unknown!r}"
        raise refused(f"{place}: {what}", f"did you mean {near!r}?" if near else f"one of: {', '.join(STEPS)}")
    try:
        step = STEPS[verbs[0]].model_validate(dict(data))
    except ValidationError as error:
        raise refused(f"{place}: {model_problems(error, STEPS[verbs[0]])}", "see docs/mappings.md") from None
    if isinstance(step, EncryptStep):
        _check_keys(step, place)
    elif isinstance(step, HashStep) and step.key is not None and not is_reference(step.key):
        raise refused(f"{place}: hash: the key stands here in clear", "name it by reference: key: ${env:HASH_KEY}")
    elif isinstance(step, CastStep):
        for kind in step.cast.values():
            cast_type(kind)
    return step.model_dump(exclude_defaults=True, mode="json")


def model_problems(error: ValidationError, model: type[BaseModel]) -> str:
    """What pydantic found, in words, unknown keys with the nearest known one."""
    found = []
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = [f.alias or name for name, f in model.model_fields.items()]
            near = nearest(str(item["loc"][-1]), known)
            found.append(f"unknown key {path!r}" + (f" (did you mean {near!r}?)" if near else ""))
        elif item["type"] == "missing":
            found.append(f"{path!r} is required")
        else:
            found.append(f"{path!r}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(found)


def _check_keys(step: EncryptStep, place: str) -> None:
    if (step.key is None) == (step.keys is None):
        raise refused(f"{place}: encrypt needs a key", "key: ${env:AES_KEY}, or keys: {'1': …, '2': …} for versions")
    for version, key in _keys(step).items():
        if step.method == "aes-gcm" and not is_reference(key):
            raise refused(
                f"{place}: encrypt: key {version} stands here in clear", "name it by reference: key: ${env:AES_KEY}"
            )
        if "${" in key and not is_reference(key):
            raise refused(f"{place}: encrypt: key {version} is no key", "a reference has a prefix: key: ${env:RSA_KEY}")


def _keys(step: EncryptStep) -> dict[str, str]:
    return step.keys if step.keys is not None else {"1": step.key or ""}


def secret_of(reference: str, place: str) -> str:
    """What a reference stands for. ``config`` when it is absent."""
    try:
        return str(resolve(reference))
    except SynclineError as error:
        raise SynclineError(
            error.kind, f"mapping: {place}: {error.message}", hint=error.hint, where=error.where
        ) from error


def make_stage(data: Mapping[str, Any], fields: Sequence[Field]) -> Stage:
    """A checked step for these columns. Raises ``config`` for a column that is missing or of a type that does not do,
    and for a secret that is absent."""
    verb = next(key for key in data if key in STEPS)
    return _MAKERS[verb](STEPS[verb].model_validate(dict(data)), fields)


def _hash(step: Any, fields: Sequence[Field]) -> Stage:
    key = None if step.key is None else secret_of(step.key, "hash").encode()
    return HashStage(fields, step.hash, method=step.method, key=key, suffix=step.suffix, deliberate=step.allow_key)


def _mask(step: Any, fields: Sequence[Field]) -> Stage:
    return MaskStage(
        fields,
        step.mask,
        with_text=step.with_text,
        keep_first=step.keep_first,
        keep_last=step.keep_last,
        character=step.character,
        email=step.email,
    )


def _encrypt(step: Any, fields: Sequence[Field]) -> Stage:
    from syncline.sdk.mapping.encryption import EncryptStage

    keys = _keys(step)
    use = step.use or list(keys)[-1]
    # Only the key that encrypts is looked up: those of former times need not be within reach.
    found = {use: secret_of(keys[use], "encrypt")} if use in keys else {}
    return EncryptStage(fields, step.encrypt, method=step.method, keys=found, use=use, suffix=step.suffix)


def _cast(step: Any, fields: Sequence[Field]) -> Stage:
    return CastStage(fields, step.cast, fail=step.misfits == "fail", deliberate=step.allow_key)


def _derive(step: Any, fields: Sequence[Field]) -> Stage:
    from syncline.sdk.mapping.expressions import DeriveStage

    return DeriveStage(fields, step.derive, seconds=step.timeout)


def _filter(step: Any, fields: Sequence[Field]) -> Stage:
    from syncline.sdk.mapping.expressions import FilterStage

    return FilterStage(fields, step.filter, seconds=step.timeout)


def _flatten(step: Any, fields: Sequence[Field]) -> Stage:
    from syncline.sdk.mapping.flattening import FlattenStage

    return FlattenStage(
        fields, step.flatten, depth=step.depth, separator=step.separator, keys=step.keys, keep=step.keep
    )


_MAKERS: Mapping[str, Callable[[Any, Sequence[Field]], Stage]] = {
    "cast": _cast,
    "derive": _derive,
    "drop": lambda step, fields: DropStage(fields, step.drop),
    "encrypt": _encrypt,
    "filter": _filter,
    "flatten": _flatten,
    "hash": _hash,
    "mask": _mask,
    "rename": lambda step, fields: RenameStage(fields, step.rename),
}
