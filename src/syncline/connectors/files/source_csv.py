"""CSV files.

A column's type is what all its unquoted-empty-is-NULL values in the sample agree on: boolean (true, false), bigint,
double, date (2026-11-21), timestamp (2026-11-21T10:00:00, a zone makes it timestamptz), else text. Numbers with leading
zeros or a plus sign, beyond bigint, or with more digits than double holds (15) make a column text, so that nothing is
lost. In reading, numbers count by their value, and a quoted empty value is the empty text in a text column and NULL
elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from syncline.connectors.files.source_config import FileFormatConfig
from syncline.connectors.files.source_text import Extra, FileAt, head_of, open_text, unreadable
from syncline.connectors.files.source_types import Kind, fit
from syncline.core.batch import Batch, Misfit
from syncline.core.schema import Field

__all__ = ["CsvFormat"]

#: Arrow reads 32 blocks ahead, whatever we ask for: some 40 MiB are held per partition.
_BLOCK_BYTES = 1 << 20
#: Blocks are put together up to this.
_BATCH_BYTES = 6 << 20
_LARGEST_ROW = 256 << 20
_HEADER_BYTES = 1 << 20
_MOST_COLUMNS = 10_000
_TRUE, _FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
_DAY = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_CLOCK = r"[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
_ZONE = r"(?:Z|[+-]\d\d(?::?\d\d)?)"
#: Tried in this order; int32 stands for a bigint of up to 15 digits, which double holds too.
_PATTERNS: list[tuple[str, pa.DataType]] = [
    (r"^(?:true|True|TRUE|false|False|FALSE)$", pa.bool_()),
    (r"^(?:0|-?[1-9]\d{0,14})$", pa.int32()),
    (r"^(?:0|-?[1-9]\d{0,18})$", pa.int64()),
    (rf"^{_DAY}$", pa.date32()),
    (rf"^{_DAY}{_CLOCK}$", pa.timestamp("us")),
    (rf"^{_DAY}{_CLOCK}{_ZONE}$", pa.timestamp("us", "UTC")),
]
_NUMBER = r"^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?$"
_WELL_FORMED: dict[pa.DataType, str] = {
    pa.bool_(): _PATTERNS[0][0],
    pa.int64(): r"^[+-]?\d+$",
    pa.float64(): r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$|^[+-]?(?i:nan|inf|infinity)$",
}


class CsvFormat:
    """Reads the CSV files of a stream as their format says."""

    def __init__(self, form: FileFormatConfig, sample_bytes: int) -> None:
        self._form, self._sample_bytes = form, sample_bytes

    def columns(self, file: FileAt) -> dict[str, Kind]:
        """Names and kinds from the head of a file. Values may be cut off with the sample, rows are not."""
        names, rows = self._head(file, self._sample_bytes)
        return {name: (_type_of(rows.column(i)), None) for i, name in enumerate(names)}

    def read(
        self, file: FileAt, fields: Sequence[Field], extra: Extra, start: int = 0, stop: int = -1
    ) -> Iterator[Batch]:
        names, _ = self._head(file, _HEADER_BYTES)
        extra(file, names)
        kinds = {f.name: f.type for f in fields}
        rows, block, typed = 0, _BLOCK_BYTES, True
        while True:
            # What was given is skipped by its number of rows when a second reader takes over.
            with unreadable(file):
                try:
                    for data in self._stream(
                        file, names, kinds if typed else dict.fromkeys(kinds, pa.binary()), block, rows
                    ):
                        yield Batch(data=data) if typed else _fitted(data, fields)
                        rows += data.num_rows
                    return
                except pa.ArrowInvalid as error:
                    if "conversion error" in str(error) and typed:
                        typed = False
                    elif "straddling" in str(error) and block < _LARGEST_ROW:
                        block *= 4
                    else:
                        raise _malformed(file, error) from error

    def _stream(
        self, file: FileAt, names: Sequence[str], kinds: dict[str, pa.DataType], block: int, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """All of a file but its first ``skip`` rows. Columns that it lacks are NULL."""
        schema = pa.schema(list(kinds.items()))
        convert = self._convert(column_types=kinds, include_columns=list(kinds), include_missing_columns=True)
        # Threads are left to the partitions, and errors then know their row.
        options = pacsv.ReadOptions(
            block_size=block,
            use_threads=False,
            column_names=list(names),
            skip_rows=self._form.skip_lines,
            skip_rows_after_names=int(self._form.header),
        )
        with open_text(file, self._form) as stream:
            try:
                reader = pacsv.open_csv(
                    stream, read_options=options, parse_options=self._parse(len(names)), convert_options=convert
                )
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    return
                raise
            with reader:
                # An error drops what is gathered; the reader that takes over finds it again.
                gathered: list[pa.RecordBatch] = []
                size = 0
                for data in reader:
                    if skip >= data.num_rows:
                        skip -= data.num_rows
                        continue
                    gathered.append(pa.RecordBatch.from_arrays(data.slice(skip).columns, schema=schema))
                    skip = 0
                    size += data.nbytes
                    if size >= _BATCH_BYTES:
                        yield pa.concat_batches(gathered)
                        gathered, size = [], 0
                if gathered:
                    yield pa.concat_batches(gathered)

    def _head(self, file: FileAt, size: int) -> tuple[list[str], pa.Table]:
        """The columns' names and the first rows, all as text, of the first ``size`` bytes or a little more."""
        with unreadable(file):
            while True:
                with open_text(file, self._form) as stream:
                    data, whole = head_of(stream, size)
                if not whole:
                    data = data[: self._end_of_rows(data)]
                if data or whole or size >= _LARGEST_ROW:
                    break
                size *= 8
            try:
                rows = self._parsed(data)
            except pa.ArrowInvalid as error:
                raise _malformed(file, error) from error
        return self._names(file, rows), rows.slice(int(self._form.header))

    def _parsed(self, data: bytes) -> pa.Table:
        if not data.strip():
            return pa.table({})
        options = pacsv.ReadOptions(
            block_size=len(data) + 1,
            use_threads=False,
            autogenerate_column_names=True,
            skip_rows=self._form.skip_lines,
        )
        texts = {f"f{i}": pa.string() for i in range(_MOST_COLUMNS)}
        return pacsv.read_csv(
            pa.BufferReader(data),
            read_options=options,
            parse_options=self._parse(2),
            convert_options=self._convert(column_types=texts),
        )

    def _names(self, file: FileAt, rows: pa.Table) -> list[str]:
        names = list(self._form.column_names)
        if not names and rows.num_columns and self._form.header:
            names = [column[0].as_py() or f"f{i}" for i, column in enumerate(rows.columns)]
        elif not names:
            names = list(rows.column_names)
        elif rows.num_columns and len(names) != rows.num_columns:
            raise file.wrong(
                f"has {rows.num_columns} columns and column_names has {len(names)}", "correct column_names"
            )
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise file.wrong(f"column {twice[0]!r} is there twice", "name the columns with format.column_names")
        return names

    def _end_of_rows(self, data: bytes) -> int:
        """Behind the last newline that lies outside of quotes."""
        end = data.rfind(b"\n") + 1
        if self._form.quote_char is None:
            return end
        quote = self._form.quote_char.encode()
        quotes = data.count(quote, 0, end)
        while end and quotes % 2:
            before = data.rfind(b"\n", 0, end - 1) + 1
            quotes -= data.count(quote, before, end)
            end = before
        return end

    def _parse(self, columns: int) -> pacsv.ParseOptions:
        form = self._form
        return pacsv.ParseOptions(
            delimiter=form.delimiter,
            quote_char=form.quote_char or False,
            double_quote=form.double_quote,
            escape_char=form.escape_char or False,
            newlines_in_values=form.quote_char is not None or form.escape_char is not None,
            # With one column an empty line is a row whose value is NULL.
            ignore_empty_lines=columns > 1,
        )

    def _convert(self, **options: object) -> pacsv.ConvertOptions:
        return pacsv.ConvertOptions(
            null_values=["", *self._form.null_values],
            true_values=_TRUE,
            false_values=_FALSE,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            **options,
        )


def _type_of(column: pa.ChunkedArray) -> pa.DataType:
    values = column.drop_null()
    values = values.filter(pc.not_equal(values, "")) if len(values) else values
    if not len(values):
        return pa.null() if column.null_count == len(column) else pa.string()
    for pattern, kind in _PATTERNS:
        if _all(pc.match_substring_regex(values, pattern)) and _casts(values, kind):
            return kind
    if _all(pc.match_substring_regex(values, _NUMBER)):
        mantissa = pc.replace_substring_regex(values, r"[eE].*$", "")
        digits = pc.replace_substring_regex(mantissa, r"^[-0.]+|\.", "")
        if pc.max(pc.utf8_length(digits)).as_py() <= 15 and _casts(values, pa.float64()):
            return pa.float64()
    return pa.string()


def _all(mask: pa.ChunkedArray) -> bool:
    return bool(pc.all(mask).as_py())


def _casts(values: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        pc.cast(values, pa.int64() if kind == pa.int32() else kind)
    except pa.ArrowInvalid:
        return False
    return True


def _fitted(data: pa.RecordBatch, fields: Sequence[Field]) -> Batch:
    """Bytes as the fields' types, value by value where it must be."""
    arrays: list[pa.Array] = []
    misfits: list[Misfit] = []
    for field, column in zip(fields, data.columns, strict=True):
        texts, wrong = fit(column, Field(name=field.name, type=pa.string()))
        misfits += wrong
        if field.type != pa.string():
            texts = pc.utf8_trim_whitespace(texts)
            texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
            texts, wrong = _of_type(texts, field)
            misfits += wrong
        arrays.append(texts)
    schema = pa.schema([f.arrow() for f in fields])
    return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema), misfits=tuple(misfits))


def _of_type(texts: pa.Array, field: Field) -> tuple[pa.Array, list[Misfit]]:
    misfits: list[Misfit] = []
    if pattern := _WELL_FORMED.get(field.type):
        good = pc.fill_null(pc.match_substring_regex(texts, pattern), True)
        for row in pc.indices_nonzero(pc.invert(good)).to_pylist():
            reason = f"does not fit {field.type}"
            misfits.append(Misfit(row=row, column=field.name, text=texts[row].as_py(), reason=reason))
        texts = pc.if_else(good, texts, pa.scalar(None, pa.string()))
    array, wrong = fit(texts, field)
    return array, [*misfits, *wrong]


def _malformed(file: FileAt, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if "invalid UTF8" in text:
        return file.wrong("is not UTF-8 text", "set format.encoding, for example latin-1, cp1252 or utf-16")
    if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", text):
        return file.wrong(
            f"row {found[1]} has {found[3]} values where {found[2]} are expected",
            "mend the line, or check format.delimiter, quote_char and skip_lines",
        )
    return file.wrong(text.removeprefix("CSV parse error: ")[:300])
