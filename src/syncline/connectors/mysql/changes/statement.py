"""What a statement in the log did to tables: enough of MySQL's SQL to follow DDL, in the order of the log.

The statement itself is read, not the catalog: by now that may say something else.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["TableChange", "Token", "changes_of", "first_words", "tokens"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[ \t\n][^\n]*|\#[^\n]*|/\*(?!M?!).*?\*/)
    | (?P<hint>/\*M?!\d*|\*/)
    | `(?P<name>(?:``|[^`])*)`
    | '(?P<text>(?:''|\\.|[^'\\])*)'
    | "(?P<double>(?:""|\\.|[^"\\])*)"
    | (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?\b)
    | (?P<word>[\w$@]+)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


@dataclass(frozen=True)
class Token:
    """``kind`` is name (in backquotes), word, text, number or sign."""

    kind: str
    value: str

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.value.upper() in words


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """One thing that happened to a table. ``what`` is:

    ``truncate``; ``gone`` (dropped, renamed, replaced); ``stop`` (rows changed without being told: ``reason``);
    ``add``, ``drop``, ``rename`` (``column`` to ``new``), ``modify`` of a column. ``native`` is the column's new type;
    ``default`` what rows that were there got (None: NULL), and ``unsure`` that it cannot be said.
    """

    database: str
    table: str
    what: str
    column: str = ""
    new: str = ""
    native: str = ""
    default: str | None = None
    unsure: bool = False
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if value not in ("", None, False)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableChange:
        return cls(**data)


def tokens(statement: str) -> list[Token]:
    """The statement in pieces, without comments (what stands in ``/*! */`` is part of it)."""
    found = []
    for match in _TOKEN.finditer(statement):
        kind = match.lastgroup or ""
        value = match[kind]
        if kind in ("space", "hint"):
            continue
        if kind == "name":
            value = value.replace("``", "`")
        elif kind in ("text", "double"):
            quote = "'" if kind == "text" else '"'
            value = re.sub(
                r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value.replace(quote * 2, quote), flags=re.DOTALL
            )
            kind = "text"
        found.append(Token(kind, value))
    return found


def first_words(statement: str, count: int = 3) -> tuple[str, ...]:
    """The first words in capitals, to tell statements apart cheaply."""
    return tuple(t.value.upper() for t in tokens(statement[:400])[:count] if t.kind == "word")


def changes_of(statement: str, database: str) -> list[TableChange]:
    """What a statement, run with ``database`` as its default, does to tables."""
    return list(_Reader(tokens(statement), database).all())


class _Reader:
    def __init__(self, found: list[Token], database: str) -> None:
        self._tokens, self._at, self._database = found, 0, database

    # -- pieces ---------------------------------------------------------------------------------------------------

    def _peek(self, ahead: int = 0) -> Token:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else Token("end", "")

    def _take(self) -> Token:
        found = self._peek()
        self._at += 1
        return found

    def _skip(self, *words: str) -> bool:
        """Past this sequence of words if it stands here."""
        if all(self._peek(i).is_word(word) for i, word in enumerate(words)):
            self._at += len(words)
            return True
        return False

    def _sign(self, value: str) -> bool:
        if self._peek() == Token("sign", value):
            self._at += 1
            return True
        return False

    def _table(self) -> tuple[str, str]:
        first = self._take().value
        if self._sign("."):
            return first, self._take().value
        return self._database, first

    # -- statements -----------------------------------------------------------------------------------------------

    def all(self) -> Iterator[TableChange]:
        first = self._take()
        if first.is_word("TRUNCATE"):
            self._skip("TABLE")
            yield self._whole("truncate")
        elif first.is_word("DROP"):
            yield from self._drop()
        elif first.is_word("RENAME"):
            yield from self._rename()
        elif first.is_word("CREATE"):
            self._skip("OR", "REPLACE")
            if self._skip("TABLE") and not self._skip("IF", "NOT", "EXISTS"):
                yield self._whole("gone", "was made anew")
        elif first.is_word("ALTER"):
            self._skip("ONLINE")
            self._skip("IGNORE")
            if self._skip("TABLE"):
                yield from self._alter()

    def _whole(self, what: str, reason: str = "") -> TableChange:
        database, table = self._table()
        return TableChange(database=database, table=table, what=what, reason=reason)

    def _drop(self) -> Iterator[TableChange]:
        if self._skip("DATABASE") or self._skip("SCHEMA"):
            self._skip("IF", "EXISTS")
            yield TableChange(database=self._take().value, table="", what="gone", reason="was dropped")
            return
        if not (self._skip("TABLE") or self._skip("TABLES")):
            return
        self._skip("IF", "EXISTS")
        yield self._whole("gone", "was dropped")
        while self._sign(","):
            yield self._whole("gone", "was dropped")

    def _rename(self) -> Iterator[TableChange]:
        if not (self._skip("TABLE") or self._skip("TABLES")):
            return
        self._skip("IF", "EXISTS")
        while True:
            yield self._whole("gone", "was renamed")
            while not self._peek().is_word("TO") and self._peek().kind != "end":
                self._at += 1  # WAIT n
            self._skip("TO")
            yield self._whole("gone", "was replaced by another table")
            if not self._sign(","):
                return

    def _alter(self) -> Iterator[TableChange]:
        self._skip("IF", "EXISTS")
        database, table = self._table()
        for part in _parts(self._tokens[self._at :]):
            for change in _Reader(part, self._database)._change():
                yield TableChange(**{**change, "database": database, "table": table})

    # -- one specification of ALTER TABLE ---------------------------------------------------------------------------

    def _change(self) -> Iterator[dict[str, Any]]:
        if self._peek().is_word("WAIT", "NOWAIT"):
            self._at += 1 + self._peek().is_word("WAIT")
        first = self._take()
        if first.is_word("ADD"):
            yield from self._add()
        elif first.is_word("DROP"):
            yield from self._drop_part()
        elif first.is_word("MODIFY", "CHANGE"):
            self._skip("COLUMN")
            self._skip("IF", "EXISTS")
            column = self._take().value
            new = self._take().value if first.is_word("CHANGE") else column
            if new != column:
                yield {"what": "rename", "column": column, "new": new}
            yield {"what": "modify", "column": new, **self._definition()}
        elif first.is_word("RENAME"):
            if self._skip("COLUMN"):
                self._skip("IF", "EXISTS")
                column = self._take().value
                self._skip("TO")
                yield {"what": "rename", "column": column, "new": self._take().value}
            elif not (self._peek().is_word("INDEX", "KEY") and self._peek(2).is_word("TO")):
                yield {"what": "gone", "reason": "was renamed"}
        elif first.is_word("TRUNCATE", "EXCHANGE", "CONVERT") and self._peek().is_word("PARTITION"):
            yield {"what": "stop", "reason": "rows of a partition went or came without being told"}
        elif first.is_word("DISCARD", "IMPORT"):
            yield {"what": "stop", "reason": "its rows were replaced by a file"}

    def _add(self) -> Iterator[dict[str, Any]]:
        column = self._skip("COLUMN")
        if not column and self._peek().is_word(
            *("INDEX", "KEY", "PRIMARY", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "FOREIGN", "CHECK"),
            *("PARTITION", "PERIOD", "SYSTEM"),
        ):
            return
        self._skip("IF", "NOT", "EXISTS")
        if self._sign("("):
            inner = _parts(self._tokens[self._at : _closing(self._tokens, self._at)])
            for part in inner:
                yield {"what": "add", "column": part[0].value, **_Reader(part[1:], self._database)._definition()}
            return
        yield {"what": "add", "column": self._take().value, **self._definition()}

    def _drop_part(self) -> Iterator[dict[str, Any]]:
        column = self._skip("COLUMN")
        if not column and self._peek().is_word("PARTITION"):
            yield {"what": "stop", "reason": "rows of a partition went without being told"}
            return
        if not column and self._peek().is_word(
            *("INDEX", "KEY", "PRIMARY", "FOREIGN", "CONSTRAINT", "CHECK", "PERIOD", "SYSTEM")
        ):
            return
        self._skip("IF", "EXISTS")
        yield {"what": "drop", "column": self._take().value}

    def _definition(self) -> dict[str, Any]:
        """A column's type, and what the rows that are there get for it."""
        native = self._type()
        rest = self._tokens[self._at :]
        words = [t.value.upper() if t.kind == "word" else "" for t in rest]
        not_null = any(a == "NOT" and b == "NULL" for a, b in itertools.pairwise(words))
        not_null |= "PRIMARY" in words or native == "serial"
        unsure = bool({"AS", "GENERATED", "AUTO_INCREMENT"} & set(words)) or native == "serial"
        found: dict[str, Any] = {"native": native, "unsure": unsure}
        if "DEFAULT" in words:
            value = rest[words.index("DEFAULT") + 1 :]
            text, sure = _constant(value)
            return {**found, "default": text, "unsure": unsure or not sure}
        if not_null:
            implicit = _implicit(native)
            return {**found, "default": implicit, "unsure": unsure or implicit is None}
        return found

    def _type(self) -> str:
        name = self._take().value.lower()
        if name == "double":
            self._skip("PRECISION")
        if name in ("character", "char") and self._skip("VARYING"):
            name = "varchar"
        if name == "long":
            name = "mediumblob" if self._skip("VARBINARY") else "mediumtext"
        if name == "national":
            name = self._take().value.lower()
        name = _SYNONYMS.get(name, name)
        arguments = ""
        if self._sign("("):
            end = _closing(self._tokens, self._at)
            arguments = "(" + "".join(_printed(t) for t in self._tokens[self._at : end]) + ")"
            self._at = end + 1
        flags = ""
        while self._peek().is_word("UNSIGNED", "SIGNED", "ZEROFILL"):
            flags += "" if self._peek().is_word("SIGNED") else " " + self._peek().value.lower()
            self._at += 1
        if name in ("bool", "boolean"):
            return "tinyint(1)"
        return name + arguments + flags


_SYNONYMS = {
    "bin": "binary",
    "character": "char",
    "dec": "decimal",
    "fixed": "decimal",
    "float4": "float",
    "float8": "double",
    "int1": "tinyint",
    "int2": "smallint",
    "int3": "mediumint",
    "int4": "int",
    "int8": "bigint",
    "integer": "int",
    "middleint": "mediumint",
    "nchar": "char",
    "numeric": "decimal",
    "nvarchar": "varchar",
    "real": "double",
    "varcharacter": "varchar",
}


def _printed(token: Token) -> str:
    return "'" + token.value.replace("'", "''") + "'" if token.kind == "text" else token.value


def _closing(found: Sequence[Token], start: int) -> int:
    """Where the bracket that was opened before ``start`` is closed."""
    depth = 0
    for at in range(start, len(found)):
        if found[at] == Token("sign", "("):
            depth += 1
        elif found[at] == Token("sign", ")"):
            if depth == 0:
                return at
            depth -= 1
    return len(found)


def _parts(found: Sequence[Token]) -> list[list[Token]]:
    """Split at commas outside of brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in found:
        if token == Token("sign", ",") and depth == 0:
            parts.append([])
            continue
        depth += (token == Token("sign", "(")) - (token == Token("sign", ")"))
        parts[-1].append(token)
    return [part for part in parts if part]


def _constant(value: Sequence[Token]) -> tuple[str | None, bool]:
    """The text of a constant after DEFAULT (None: NULL), and whether it is one."""
    if not value:
        return None, False
    sign = ""
    if value[0] in (Token("sign", "-"), Token("sign", "+")):
        sign = value[0].value.replace("+", "")
        value = value[1:]
    first = value[0] if value else Token("end", "")
    follows = value[1] if len(value) > 1 else Token("end", "")
    if follows.kind == "text" or follows == Token("sign", "("):
        return None, False  # x'00', a function
    if first.kind in ("text", "number"):
        return sign + first.value, True
    if first.is_word("NULL"):
        return None, True
    if first.is_word("TRUE", "FALSE"):
        return "1" if first.is_word("TRUE") else "0", True
    return None, False


def _implicit(native: str) -> str | None:
    """What NOT NULL without a default gives; None where that is no plain constant."""
    name = native.partition("(")[0].partition(" ")[0]
    if name in ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "bit", "year"):
        return "0"
    if name in ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "varbinary", "blob", "set"):
        return ""
    if name == "enum":
        labels = tokens(native[len(name) :])
        return labels[1].value if len(labels) > 1 else None
    return None
