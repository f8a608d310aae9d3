"""Which column of a Relation message is which column of the stream, also after renames.

Two witnesses: the numbers that columns have in the catalogue, and what this reader saw last. Where they leave more than
one answer, :class:`Unsafe` says so: a guess could put one column's values under another's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syncline.connectors.postgres.changes.numbering import Unclear, number_columns
from syncline.connectors.postgres.changes.table import TableNow

__all__ = ["Match", "Unsafe", "match_columns"]


class Unsafe(Exception):  # noqa: N818 - becomes the stream's error
    """The stream cannot go on; the text says what happened, ``advice`` what mends it before the stream is copied."""

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True, kw_only=True)
class Match:
    """``former``: name in the message -> name that the stream has for this column. ``added``: names that are new.
    ``numbers``: of the message's columns, None when nobody can tell. Columns in neither were never the stream's."""

    former: Mapping[str, str]
    added: frozenset[str]
    numbers: Mapping[str, int] | None


def match_columns(
    names: Sequence[str],
    known: Sequence[str],
    now: TableNow | None,
    *,
    before: Mapping[str, int] | None,
    highest: int,
    wanted: frozenset[str] | None,
    were: frozenset[int] | None = None,
) -> Match:
    """``names`` are the message's columns, ``known`` the stream's (both in the order of their numbers), ``before`` the
    numbers of the stream's columns and of those seen in messages (None: not known), ``highest`` the highest number that
    was there when the stream was last known to be as the destination has it (0: not known), ``wanted`` the selected
    names (None: all that we may read), ``were`` the numbers of all columns that the table had in the message
    before (None: not known). Raises :class:`Unsafe`."""
    if were is None and before is not None and wanted is None and now is not None and _all_readable(now):
        were = frozenset(before.values())  # every column that the table had, dropped ones too
    numbers = _numbers(names, now, before, _possible(now, were, highest))
    if before is not None and numbers is not None:
        match = _followed(names, before, numbers)
    else:
        match = _first(names, known, now, numbers, wanted)
    added: set[str] = set()
    for name in match.added:
        attribute = None
        if now is not None:
            attribute = now.numbered(numbers[name]) if numbers is not None else now.named(name)
        hidden = attribute is not None and not attribute.dropped and not attribute.readable
        if name not in wanted if wanted is not None else hidden:
            continue
        if numbers is not None and numbers[name] <= highest:
            raise Unsafe(f"column {name} is selected now and was not when the stream was copied")
        added.add(name)
    return Match(former=match.former, added=frozenset(added), numbers=numbers)


def _all_readable(now: TableNow) -> bool:
    return all(a.dropped or a.readable for a in now.attributes)


def _possible(now: TableNow | None, were: frozenset[int] | None, highest: int) -> frozenset[int]:
    """The numbers that columns of a message can have: a column that the message before did not have is a new one, and
    no new one has a number that was given out before."""
    every = frozenset(a.number for a in now.attributes) if now is not None else frozenset[int]()
    return every if were is None else frozenset(n for n in every if n in were or n > highest)


def _numbers(
    names: Sequence[str], now: TableNow | None, before: Mapping[str, int] | None, possible: frozenset[int]
) -> dict[str, int] | None:
    """The catalogue may be ahead of the message: a name may have meant another column then. Raises when both the
    present and the remembered numbers would do and differ."""
    if now is None:
        return None
    present = {name: a.number for name in names if (a := now.named(name)) is not None}
    remembered = {**present, **{name: n for name, n in (before or {}).items() if name in names}}
    other = _numbered(names, now, remembered, possible)
    if all(remembered[name] == number for name, number in present.items()):
        return other  # no name has two meanings: what was seen in the log stands
    found = _numbered(names, now, present, possible)
    if found is not None and other is not None and found != other:
        again = ", ".join(name for name in names if found[name] != other[name])
        raise Unsafe(f"column {again} was dropped and another added under its name")
    return found or other


def _numbered(
    names: Sequence[str], now: TableNow, anchors: Mapping[str, int], possible: frozenset[int]
) -> dict[str, int] | None:
    open_numbers = possible - set(anchors.values())
    free = [a.number for a in now.attributes if (a.dropped or a.name not in names) and a.number in open_numbers]
    try:
        return number_columns(names, anchors, free)
    except Unclear:
        return None


def _followed(names: Sequence[str], before: Mapping[str, int], numbers: Mapping[str, int]) -> Match:
    """The number says it all."""
    was = {number: name for name, number in before.items()}
    former = {name: was[numbers[name]] for name in names if numbers[name] in was}
    return Match(former=former, added=frozenset(n for n in names if n not in former), numbers=numbers)


def _first(
    names: Sequence[str],
    known: Sequence[str],
    now: TableNow | None,
    numbers: Mapping[str, int] | None,
    wanted: frozenset[str] | None,
) -> Match:
    """Without remembered numbers: names count, and the catalogue decides about those that only one side has."""
    former = {name: name for name in names if name in known}
    fresh = [name for name in names if name not in former]
    gone = [name for name in known if name not in former]
    candidates = [name for name in fresh if wanted is None or name in wanted]
    if candidates and gone:
        if numbers is None:
            raise Unsafe(_unclear(candidates, gone))
        former.update(_renamed(known, former, candidates, numbers, now))
    if numbers is not None:
        last = max((numbers[name] for name in former), default=0)
        for name in candidates:
            if name not in former and numbers[name] < last:
                raise Unsafe(f"column {name} is selected now and was not when the stream was copied")
    return Match(former=former, added=frozenset(n for n in fresh if n not in former), numbers=numbers)


def _renamed(
    known: Sequence[str],
    former: Mapping[str, str],
    candidates: Sequence[str],
    numbers: Mapping[str, int],
    now: TableNow | None,
) -> dict[str, str]:
    """Between two columns that both sides know: which of the message's names stand for which of the stream's."""
    dropped = [a.number for a in now.attributes if a.dropped] if now is not None else []
    found: dict[str, str] = {}
    low, waiting = 0, list[str]()
    for name in [*known, None]:
        if name is not None and name not in former:
            waiting.append(name)
            continue
        high = 1 << 16 if name is None else numbers[name]
        inside = {numbers[c]: c for c in candidates if low < numbers[c] < high}
        if waiting and inside:
            every = sorted([*inside, *(n for n in dropped if low < n < high)])
            if len(every) != len(waiting):
                raise Unsafe(_unclear(list(inside.values()), waiting))
            found.update({inside[n]: was for n, was in zip(every, waiting, strict=True) if n in inside})
        low, waiting = high, []
    return found


def _unclear(fresh: Sequence[str], gone: Sequence[str]) -> str:
    return (
        f"it has {', '.join(fresh)} and no longer {', '.join(gone)}: whether a column was renamed, or dropped and "
        "another added, cannot be told any more"
    )
