"""The rules there are, and gates read from what a person wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.quality.gate import Empty, Gate, Severity, When

__all__ = ["RULES", "Rule", "duration_seconds", "gate_error", "parse_gates"]

_COMMON = ("severity", "name", "mostly", "empty", "when", "timeout")
STATISTICS = ("min", "max", "mean", "sum", "distinct")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """``per_row``: judged on each batch as it comes, so its rows can be set aside. ``reads_stage``: asks the staged
    rows in SQL before they are published. ``required`` and ``optional`` are its options; ``takes`` how many columns it
    names: none, one, each (one gate for each) or together."""

    per_row: bool = False
    reads_stage: bool = False
    takes: str = "one"
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    empty: Empty = Empty.PASS


RULES: Mapping[str, Rule] = {
    "not_null": Rule(per_row=True, takes="each"),
    "null": Rule(per_row=True, takes="each"),
    "in_set": Rule(per_row=True, required=("values",)),
    "not_in_set": Rule(per_row=True, required=("values",)),
    "regex": Rule(per_row=True, required=("pattern",)),
    "not_regex": Rule(per_row=True, required=("pattern",)),
    "range": Rule(per_row=True, optional=("min", "max", "above", "below")),
    "length": Rule(per_row=True, optional=("min", "max")),
    "unique": Rule(reads_stage=True, takes="together"),
    "row_count": Rule(takes="none", optional=("min", "max", "change")),
    "has_columns": Rule(takes="together", optional=("exactly",)),
    "freshness": Rule(required=("max_age",), empty=Empty.FAIL),
    "statistic": Rule(reads_stage=True, required=("of",), optional=("min", "max")),
    "references": Rule(reads_stage=True, takes="together", required=("table",), optional=("to",)),
    "sql": Rule(reads_stage=True, takes="none", required=("query",)),
    "expectation": Rule(reads_stage=True, takes="none", required=("type", "kwargs")),
}


def gate_error(message: str, *, hint: str = "") -> SynclineError:
    """A gate that cannot be: for the person who wrote it."""
    return SynclineError(ErrorKind.CONFIG, f"gates: {message}", hint=hint or "see docs/quality-gates.md")


def parse_gates(items: Sequence[Any], suite: Callable[[str], list[Gate]] | None = None) -> list[Gate]:
    """Gates from a list as it stands in a project file: each item names one rule, or is a gate in JSON. ``suite`` reads
    a Great Expectations
    suite by its path; without it such items are refused. Raises ``config`` naming item and key."""
    gates: list[Gate] = []
    for place, item in enumerate(items, start=1):
        gates += _parse(item, place, suite)
    named: dict[str, int] = {}
    for gate in gates:
        named[gate.name] = named.get(gate.name, 0) + 1
    twice = [name for name, count in named.items() if count > 1]
    if twice:
        raise gate_error(f"two gates are named {twice[0]!r}", hint="give one of them another name: …")
    return gates


def _parse(item: Any, place: int, suite: Callable[[str], list[Gate]] | None) -> list[Gate]:
    if not isinstance(item, Mapping):
        raise gate_error(f"item {place} is no mapping: write for example {{not_null: id}}")
    item = _as_written(item)
    words = [k for k in item if k not in _COMMON]
    if len(words) != 1:
        known = f"one of {', '.join(['min_records', 'suite', *RULES])}"
        raise gate_error(f"item {place} must name one rule, {known}; it names {', '.join(map(repr, words)) or 'none'}")
    word, value = words[0], item[words[0]]
    if word == "suite":
        if suite is None:
            raise gate_error("a suite is read from a file, which can be named in a project file only")
        return [_with_severity(g, item) for g in suite(str(value))]
    if word == "min_records":
        word, value = "row_count", {"min": value}
    rule = RULES.get(word)
    if rule is None:
        near = nearest(word, ["min_records", "suite", *RULES])
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(['min_records', 'suite', *RULES])}"
        raise gate_error(f"item {place}: unknown rule {word!r}", hint=hint)
    columns, options = _columns_and_options(word, rule, value, place)
    severity = _word(Severity, item.get("severity", "block"), "severity", place)
    if severity is Severity.QUARANTINE and not rule.per_row:
        raise gate_error(
            f"item {place}: {word} judges the stream as a whole and has no rows to set aside",
            hint="use severity: warn or block",
        )
    mostly = item.get("mostly", 1.0)
    if isinstance(mostly, bool) or not isinstance(mostly, int | float) or not 0 < mostly <= 1:
        raise gate_error(f"item {place}: mostly must be a number above 0 and up to 1, not {mostly!r}")
    if mostly != 1.0 and not (rule.per_row or word == "expectation"):
        raise gate_error(f"item {place}: mostly has a meaning for rules about rows only, not for {word}")
    empty = _word(Empty, item.get("empty", rule.empty.value), "empty", place)
    when = _word(When, item.get("when", When.ALWAYS.value), "when", place)
    if when is When.COPIES and rule.per_row:
        raise gate_error(f"item {place}: {word} judges each row, of copies and of changes; when is for other rules")
    timeout = item.get("timeout")
    if timeout is not None and not rule.reads_stage:
        raise gate_error(f"item {place}: timeout is for rules that ask the staged rows, which {word} does not")
    groups = [(c,) for c in columns] if rule.takes == "each" else [tuple(columns)]
    if item.get("name") and len(groups) > 1:
        raise gate_error(f"item {place}: a name for several columns; write an item for each")
    made = [
        Gate(
            name=str(item.get("name") or _name(word, group, options)),
            rule=word,
            columns=group,
            options=options,
            severity=severity,
            mostly=float(mostly),
            empty=empty,
            when=when,
            timeout=None if timeout is None else duration_seconds(timeout),
        )
        for group in groups
    ]
    for gate in made:
        _check(gate, place)
    return made


def _as_written(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A gate that was read before, as :meth:`Gate.to_json` gives it, in the words of a file."""
    if not {"rule", "columns", "options"} <= set(item):
        return item
    columns = {"columns": list(item["columns"])} if item["columns"] else {}
    return {str(item["rule"]): {**columns, **item["options"]}, **{k: item[k] for k in _COMMON if k in item}}


def _columns_and_options(word: str, rule: Rule, value: Any, place: int) -> tuple[list[str], dict[str, Any]]:
    if word == "sql" and isinstance(value, str):
        value = {"query": value}
    if rule.takes in ("each", "together") and isinstance(value, str | list):
        value = {"columns": value}
    if not isinstance(value, Mapping):
        raise gate_error(f"item {place}: {word} needs a mapping, not {value!r}")
    options = dict(value)
    columns: Any = []
    if rule.takes != "none":
        key = next((k for k in ("column", "columns") if k in options), None)
        if key is None:
            raise gate_error(f"item {place}: {word} needs a column")
        columns = options.pop(key)
        columns = [columns] if isinstance(columns, str) else columns
        if not columns or not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
            raise gate_error(f"item {place}: {word}: columns must be names")
        if rule.takes == "one" and len(columns) > 1:
            raise gate_error(f"item {place}: {word} judges one column; write an item for each")
    known = (*rule.required, *rule.optional)
    for key in options:
        if key not in known:
            near = nearest(str(key), list(known))
            raise gate_error(
                f"item {place}: {word} has no option {key!r}",
                hint=f"did you mean {near!r}?" if near else f"it has: {', '.join(known) or 'none'}",
            )
    for key in rule.required:
        if options.get(key) is None:
            raise gate_error(f"item {place}: {word} needs {key}")
    if rule.optional and not rule.required and word != "has_columns" and not any(k in options for k in rule.optional):
        raise gate_error(f"item {place}: {word} needs one of {', '.join(rule.optional)}")
    return columns, {k: _plain(v) for k, v in options.items()}


def _check(gate: Gate, place: int) -> None:
    """What can be said without the stream."""
    options = gate.options
    if gate.rule in ("regex", "not_regex"):
        _check_pattern(options["pattern"], place)
    if gate.rule in ("in_set", "not_in_set") and (not isinstance(options["values"], list) or not options["values"]):
        raise gate_error(f"item {place}: values must be a list with something in it")
    if gate.rule in ("row_count", "length"):
        for key in ("min", "max"):
            bound = options.get(key)
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int) or bound < 0):
                raise gate_error(f"item {place}: {key} must be a whole number, not {bound!r}")
    if gate.rule == "row_count" and "change" in options:
        _percent(options["change"], place)
    if gate.rule == "freshness":
        duration_seconds(options["max_age"])
    if gate.rule == "statistic":
        if options["of"] not in STATISTICS:
            raise gate_error(f"item {place}: of is one of {', '.join(STATISTICS)}, not {options['of']!r}")
        if "min" not in options and "max" not in options:
            raise gate_error(f"item {place}: statistic needs min, max or both")
    low = options.get("min", options.get("above"))
    high = options.get("max", options.get("below"))
    same = isinstance(low, int | float) and isinstance(high, int | float)
    if gate.rule in ("row_count", "length", "range", "statistic") and same and low > high:
        raise gate_error(f"item {place}: nothing lies between {low} and {high}")


def _check_pattern(pattern: Any, place: int) -> None:
    """RE2 only: it runs in time linear in the text whatever the pattern, so no value can make a gate hang."""
    if not isinstance(pattern, str):
        raise gate_error(f"item {place}: a pattern is text, not {pattern!r}")
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        raise gate_error(
            f"item {place}: the pattern {pattern!r} cannot be used: {reason}",
            hint="patterns are RE2's, which run in linear time: no lookahead (?=…), lookbehind (?<=…) or "
            "backreference \\1, and no repetition of more than 1000",
        ) from None


def _percent(value: Any, place: int = 0) -> float:
    text = str(value).strip().removesuffix("%")
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise gate_error(f"item {place}: change is a percentage such as 20%, not {value!r}")
    return number


_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def duration_seconds(value: Any) -> float:
    """``24h``, ``90 min``, ``2d``, or seconds as a number. Raises ``config``."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)\s*", str(value))
    if found is None:
        raise gate_error(f"{value!r} is no length of time", hint="write for example 90s, 30m, 24h, 7d")
    return float(found[1]) * _UNITS[found[2]]


def _word(words: Any, value: Any, key: str, place: int) -> Any:
    try:
        return words(value)
    except ValueError:
        known = [w.value for w in words]
        raise gate_error(f"item {place}: {key} is one of {', '.join(known)}, not {value!r}") from None


def _with_severity(gate: Gate, item: Mapping[str, Any]) -> Gate:
    from dataclasses import replace

    severity = _word(Severity, item.get("severity", gate.severity.value), "severity", 0)
    if severity is Severity.QUARANTINE and not RULES[gate.rule].per_row:
        severity = Severity.BLOCK
    empty = _word(Empty, item.get("empty", gate.empty.value), "empty", 0)
    when = gate.when if RULES[gate.rule].per_row else _word(When, item.get("when", gate.when.value), "when", 0)
    timeout = item.get("timeout") if RULES[gate.rule].reads_stage else None
    seconds = gate.timeout if timeout is None else duration_seconds(timeout)
    return replace(gate, severity=severity, empty=empty, when=when, timeout=seconds)


def _name(word: str, columns: Sequence[str], options: Mapping[str, Any]) -> str:
    more = f" {options['of']}" if word == "statistic" else ""
    return f"{word}{more} {', '.join(columns)}".strip()


def _plain(value: Any) -> Any:
    """As JSON has it: YAML reads dates and times by itself."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value
