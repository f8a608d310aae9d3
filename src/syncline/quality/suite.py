"""Great Expectations suites: JSON as the library writes it, its common expectations as gates of ours.

What has no form of ours becomes a gate of rule ``expectation``, judged by the library. An expectation that neither
knows is named, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.quality.gate import Empty, Gate, Severity
from syncline.quality.rules import gate_error, parse_gates

__all__ = ["NATIVE", "gates_of_suite", "read_suite"]

_Item = dict[str, Any]


def _column(rule: str) -> Callable[[Mapping[str, Any]], _Item]:
    return lambda k: {rule: k["column"]}


def _between(rule: str, **more: Any) -> Callable[[Mapping[str, Any]], _Item]:
    def item(k: Mapping[str, Any]) -> _Item:
        strict_low, strict_high = k.get("strict_min"), k.get("strict_max")
        if (strict_low or strict_high) and rule != "range":
            raise _NoFormError
        bounds = {("above" if strict_low else "min"): k.get("min_value")}
        bounds[("below" if strict_high else "max")] = k.get("max_value")
        value = {name: _whole(bound) for name, bound in bounds.items() if bound is not None}
        if not value:
            raise _NoFormError
        return {rule: {**({"column": k["column"]} if "column" in k else {}), **more, **value}}

    return item


def _whole(value: Any) -> Any:
    """The library writes 4 as 4.0 where a number may be either."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _NoFormError(Exception):
    """The expectation has a form of ours, but not with these arguments."""


#: expectation -> its item in our own words, from its arguments
NATIVE: Mapping[str, Callable[[Mapping[str, Any]], _Item]] = {
    "expect_column_values_to_not_be_null": _column("not_null"),
    "expect_column_values_to_be_null": _column("null"),
    "expect_column_values_to_be_unique": _column("unique"),
    "expect_compound_columns_to_be_unique": lambda k: {"unique": list(k["column_list"])},
    "expect_column_values_to_be_in_set": lambda k: {"in_set": {"column": k["column"], "values": list(k["value_set"])}},
    "expect_column_values_to_not_be_in_set": lambda k: {
        "not_in_set": {"column": k["column"], "values": list(k["value_set"])}
    },
    "expect_column_values_to_match_regex": lambda k: {"regex": {"column": k["column"], "pattern": k["regex"]}},
    "expect_column_values_to_not_match_regex": lambda k: {"not_regex": {"column": k["column"], "pattern": k["regex"]}},
    "expect_column_values_to_be_between": _between("range"),
    "expect_column_value_lengths_to_be_between": _between("length"),
    "expect_column_value_lengths_to_equal": lambda k: {
        "length": {"column": k["column"], "min": _whole(k["value"]), "max": _whole(k["value"])}
    },
    "expect_column_min_to_be_between": _between("statistic", of="min"),
    "expect_column_max_to_be_between": _between("statistic", of="max"),
    "expect_column_mean_to_be_between": _between("statistic", of="mean"),
    "expect_column_sum_to_be_between": _between("statistic", of="sum"),
    "expect_column_unique_value_count_to_be_between": _between("statistic", of="distinct"),
    "expect_table_row_count_to_be_between": _between("row_count"),
    "expect_table_row_count_to_equal": lambda k: {"row_count": {"min": _whole(k["value"]), "max": _whole(k["value"])}},
    "expect_column_to_exist": lambda k: {"has_columns": [k["column"]]},
    "expect_table_columns_to_match_set": lambda k: {
        "has_columns": {"columns": list(k["column_set"]), "exactly": k.get("exact_match", True) is not False}
    },
}

#: Arguments that change nothing of the verdict.
_IDLE = {"meta", "notes", "description", "result_format", "catch_exceptions", "batch_id", "windows", "id", "severity"}
_ARGUMENTS = {
    "column",
    "column_list",
    "column_set",
    "exact_match",
    "max_value",
    "min_value",
    "mostly",
    "regex",
    "strict_max",
    "strict_min",
    "value",
    "value_set",
}
_SEVERITIES = {"critical": "block", "warning": "warn", "info": "warn"}


def read_suite(path: Path) -> list[Gate]:
    """The gates of a suite's file. Raises ``config`` naming what cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"suite {path} cannot be read: {error.strerror}", hint="paths are relative to the project"
        ) from error
    except ValueError as error:
        raise SynclineError(ErrorKind.CONFIG, f"suite {path} is not JSON: {error}", hint="save it again") from error
    return gates_of_suite(data, str(path))


def gates_of_suite(data: Any, where: str) -> list[Gate]:
    """The gates of a suite as the library writes it: ``expectations`` with ``type`` (or ``expectation_type``) and
    ``kwargs``."""
    items = data.get("expectations") if isinstance(data, Mapping) else None
    if not isinstance(items, list) or not items:
        raise gate_error(f"{where} holds no expectations", hint="save the suite again with Great Expectations")
    gates = []
    for place, item in enumerate(items, start=1):
        kind = item.get("type") or item.get("expectation_type") if isinstance(item, Mapping) else None
        if not isinstance(kind, str):
            raise gate_error(f"{where}: expectation {place} names no type")
        if not kind.startswith("expect_"):
            raise gate_error(f"{where}: {kind!r} is no expectation", hint=f"ours are: {', '.join(NATIVE)}")
        gates.append(_gate(item, kind, place, where))
    return gates


def _gate(item: Mapping[str, Any], kind: str, place: int, where: str) -> Gate:
    kwargs = {k: v for k, v in (item.get("kwargs") or {}).items() if v is not None and k not in _IDLE}
    severity = _SEVERITIES.get(str(item.get("severity") or "critical"), "block")
    name = f"{kind.removeprefix('expect_')} {place}"
    common = {"name": name, "severity": severity}
    if kind in NATIVE and set(kwargs) <= _ARGUMENTS:
        mostly = kwargs.get("mostly", 1.0)
        try:
            ours = NATIVE[kind](kwargs)
            (gate,) = parse_gates([{**ours, **common, **({"mostly": mostly} if mostly != 1.0 else {})}])
        except KeyError as error:
            raise gate_error(f"{where}: expectation {place} ({kind}) lacks {error}") from None
        except (_NoFormError, SynclineError):
            # Arguments, or a pattern, that only the library understands.
            pass
        else:
            return gate
    return Gate(
        name=name,
        rule="expectation",
        options={"type": kind, "kwargs": kwargs},
        severity=Severity(severity),
        empty=Empty.PASS,
    )
