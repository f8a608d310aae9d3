"""JSON lines: one object per line.

Columns are the keys of all sampled objects. Numbers, booleans and texts keep their kind, texts are never taken for
dates; lists of one scalar kind are lists; objects, and lists of them, are JSON text. See ``source_types`` for what
happens when lines disagree. Blocks whose lines agree with the columns are parsed by Arrow, others line by line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from json.encoder import encode_basestring
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from syncline.connectors.files.source_config import FileFormatConfig
from syncline.connectors.files.source_text import Extra, FileAt, head_of, open_text, unreadable
from syncline.connectors.files.source_types import JSON, Kind, widen
from syncline.core.batch import Batch, Misfit
from syncline.core.errors import SynclineError
from syncline.core.schema import Field

__all__ = ["JsonFormat"]

_BLOCK_BYTES = 4 << 20
_LARGEST_LINE = 256 << 20
_BOM = b"\xef\xbb\xbf"


class _Number(str):
    """A number with a fraction or an exponent, as it was written."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_float=_Number, parse_constant=_Number)


class JsonFormat:
    """Reads the JSON lines of a stream."""

    def __init__(self, form: FileFormatConfig, sample_bytes: int) -> None:
        self._form, self._sample_bytes = form, sample_bytes

    def columns(self, file: FileAt) -> dict[str, Kind]:
        """Names and kinds from the head of a file."""
        with unreadable(file):
            size = self._sample_bytes
            while True:
                with open_text(file, self._form) as stream:
                    data, whole = head_of(stream, size)
                end = len(data) if whole else data.rfind(b"\n") + 1
                if end or whole or size >= _LARGEST_LINE:
                    break
                size *= 8
        found: dict[str, Kind] = {}
        for row in _objects(file, data[:end], 0):
            for name, value in row.items():
                kind = _kind(value)
                found[name] = widen(found[name], kind, text=True) if name in found else kind
        return found

    def read(
        self, file: FileAt, fields: Sequence[Field], extra: Extra, start: int = 0, stop: int = -1
    ) -> Iterator[Batch]:
        flat = all(f.logical != "json" for f in fields)
        lines = 0
        with unreadable(file), open_text(file, self._form) as stream:
            for block in _blocks(file, stream):
                batch = _by_arrow(file, block, fields, extra) if flat else None
                yield batch if batch is not None else _by_line(file, block, fields, extra, lines)
                lines += block.count(b"\n")


def _blocks(file: FileAt, stream: pa.NativeFile) -> Iterator[bytes]:
    """Whole lines, some 4 MiB at a time."""
    rest, first = b"", True
    while part := stream.read(_BLOCK_BYTES):
        if first:
            part, first = part.removeprefix(_BOM), False
        end = part.rfind(b"\n") + 1
        if not end:
            rest += part
            if len(rest) > _LARGEST_LINE:
                raise file.wrong(
                    f"a line is longer than {_LARGEST_LINE >> 20} MiB", "is it really one object per line?"
                )
            continue
        yield rest + part[:end]
        rest = part[end:]
    if rest:
        yield rest


def _by_arrow(file: FileAt, block: bytes, fields: Sequence[Field], extra: Extra) -> Batch | None:
    """The block when each line has values of the columns' types, else None."""
    schema = pa.schema([f.arrow() for f in fields])
    try:
        table = pajson.read_json(
            pa.BufferReader(block),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
        )
        table.validate(full=True)  # it takes any bytes for text
    except pa.ArrowException:
        return None
    extra(file, table.column_names)
    table = table.select(schema.names)
    if table.schema != schema:
        return None
    parts = table.combine_chunks().to_batches()
    return Batch(data=parts[0] if parts else pa.RecordBatch.from_pylist([], schema=schema))


def _by_line(file: FileAt, block: bytes, fields: Sequence[Field], extra: Extra, lines: int) -> Batch:
    rows = list(_objects(file, block, lines))
    extra(file, list(dict.fromkeys(name for row in rows for name in row)))
    arrays: list[pa.Array] = []
    misfits: list[Misfit] = []
    for field in fields:
        if (whole := _direct([row.get(field.name) for row in rows], field)) is not None:
            arrays.append(whole)
            continue
        made, name = _maker(field), field.name
        values: list[Any] = []
        for number, row in enumerate(rows):
            value = row.get(name)
            try:
                values.append(None if value is None else made(value))
            except (ValueError, TypeError, OverflowError):
                values.append(None)
                reason = f"does not fit {field.type}"
                text = _json(value).encode("utf-8", "backslashreplace").decode()
                misfits.append(Misfit(row=number, column=name, text=text, reason=reason))
        arrays.append(pa.array(values, field.type))
    schema = pa.schema([f.arrow() for f in fields])
    return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema), misfits=tuple(misfits))


def _direct(values: list[Any], field: Field) -> pa.Array | None:
    """A column whose values all are what they should be, without a call per value; else None."""
    if field.logical == "json" or field.type not in (pa.string(), pa.int64(), pa.bool_()):
        return None
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _objects(file: FileAt, block: bytes, lines: int) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(block.split(b"\n"), start=lines + 1):
        if not line.strip():
            continue
        try:
            value = _DECODER.decode(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _wrong(file, number, "is not UTF-8 text", "set format.encoding") from error
        except (ValueError, RecursionError) as error:
            raise _wrong(file, number, f"is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise _wrong(file, number, "is not an object")
        yield value


def _wrong(file: FileAt, line: int, message: str, hint: str = "one JSON object per line is expected") -> SynclineError:
    return file.wrong(f"line {line} {message}", hint)


def _kind(value: Any) -> Kind:
    if value is None:
        return pa.null(), None
    if isinstance(value, bool):
        return pa.bool_(), None
    if isinstance(value, int):
        # int32 stands for numbers of up to 15 digits, which double holds too.
        small = abs(value) < 10**15
        return (pa.int32() if small else pa.int64() if -(2**63) <= value < 2**63 else pa.string()), None
    if isinstance(value, _Number):
        digits = value.lower().partition("e")[0].replace(".", "").lstrip("-0")
        return (pa.float64() if len(digits) <= 15 else pa.string()), None
    if isinstance(value, str):
        return pa.string(), None
    if isinstance(value, list):
        inner: Kind = (pa.null(), None)
        for each in value:
            kind = _kind(each)
            if pa.types.is_nested(kind[0]) or kind == JSON:
                return JSON
            inner = widen(inner, kind, text=True)
        return pa.list_(inner[0]), None
    return JSON


def _maker(field: Field) -> Callable[[Any], Any]:
    """From a decoded value to what Arrow takes for the field; ValueError or TypeError when it does not fit."""
    if field.logical == "json":
        return _checked_json
    if pa.types.is_list(field.type):
        inner = _maker(Field(name=field.name, type=field.type.value_type))

        def items(value: Any) -> list[Any]:
            if not isinstance(value, list):
                raise TypeError
            return [None if each is None else inner(each) for each in value]

        return items
    if pa.types.is_integer(field.type):
        return _integer
    if pa.types.is_floating(field.type):
        return _float
    if pa.types.is_boolean(field.type):
        return _boolean
    if pa.types.is_string(field.type):
        return _text

    def parsed(value: Any) -> Any:
        if type(value) is not str:
            raise TypeError
        return pa.scalar(value).cast(field.type).as_py()

    return parsed


def _integer(value: Any) -> int:
    if isinstance(value, _Number) and float(value).is_integer() and abs(float(value)) < 2**53:
        value = int(float(value))
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, _Number)):
        raise TypeError
    number = float(value)
    if isinstance(value, int) and int(number) != value:
        raise ValueError
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    text = str(value) if isinstance(value, str) else _json(value)
    text.encode("utf-8")  # half of a surrogate pair raises UnicodeEncodeError, a ValueError
    return text


def _checked_json(value: Any) -> str:
    text = _json(value)
    text.encode("utf-8")
    return text


def _json(value: Any) -> str:
    """A decoded value as JSON, numbers as they were written."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring(k)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, _Number):
        return str(value)
    return encode_basestring(value) if isinstance(value, str) else json.dumps(value)
