"""``mask``: a text that shows only a part of a value, or nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.schema import Field
from syncline.sdk.mapping.rows import Fate, Rows, by_column, find_field, made_of, refused, replaced
from syncline.sdk.mapping.value_texts import ensure_text, texts

__all__ = ["MaskStage"]


class MaskStage:
    """Of some columns. ``with_text``: every value becomes this text. Otherwise the first and last characters stay and
    ``character`` stands for each of the others; a value that would stay whole is masked whole. ``email`` keeps the
    first character and the domain."""

    verb = "mask"

    def __init__(
        self,
        fields: Sequence[Field],
        columns: Sequence[str],
        *,
        with_text: str | None = None,
        keep_first: int = 0,
        keep_last: int = 0,
        character: str = "*",
        email: bool = False,
    ) -> None:
        if len(character) != 1:
            raise refused(f"mask: character {character!r} is not one character")
        if sum((with_text is not None, email, bool(keep_first or keep_last))) > 1:
            raise refused("mask: with_text, email and keep_first/keep_last exclude each other")
        self._columns = tuple(columns)
        changes: dict[str, Field] = {}
        for name in columns:
            field = find_field(fields, name, self.verb)
            ensure_text(field, self.verb)
            changes[name] = replace(
                field, type=pa.string(), native=None, logical=None, identity=made_of(field, self.verb)
            )
        self.fields = replaced(fields, changes)
        self.fates = {name: Fate(name=name, same=False, distinct=False) for name in columns}
        self.inputs = frozenset(columns)
        self._mask: Callable[[pa.Array], pa.Array]
        if email:
            self._mask = _email
        elif keep_first or keep_last:
            self._mask = lambda column: _kept(column, keep_first, keep_last, character)
        else:
            text = "***" if with_text is None else with_text
            self._mask = lambda column: pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))

    def apply(self, rows: Rows) -> None:
        by_column(rows, self._columns, lambda column: self._mask(texts(column).cast(pa.string())))


def _kept(column: pa.Array, first: int, last: int, character: str) -> pa.Array:
    length = pc.utf8_length(column)
    shown = pc.greater(length, first + last)
    hidden = pc.if_else(shown, pc.subtract(length, first + last), length)
    stars = pc.binary_repeat(pa.repeat(character, len(column)), hidden)
    head = pc.utf8_slice_codeunits(column, 0, first) if first else pa.repeat("", len(column))
    tail = pc.utf8_slice_codeunits(column, -last) if last else pa.repeat("", len(column))
    return pc.if_else(shown, pc.binary_join_element_wise(head, stars, tail, ""), stars)


def _email(column: pa.Array) -> pa.Array:
    """``a***@example.com``; what is no address shows nothing."""
    written = pc.replace_substring_regex(column, r"(?s)^(.).*@([^@]*)$", r"\1***@\2")
    return pc.if_else(pc.match_substring(column, "@"), written, pc.if_else(column.is_valid(), "***", column))
