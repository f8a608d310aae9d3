"""Changes of a table's columns while it is written: those that a log can follow without a new copy."""

from __future__ import annotations

from syncline.testing.oracle.acts import DEEDS, Hand

__all__ = ["change_shape"]

_PLAIN = ("id", "v", "a")  #: columns that are there from the start; only the others are dropped


def change_shape(hand: Hand) -> None:
    """One change of ``shapes`` that commits, rows written before and after it in the same transaction; and often one in
    a savepoint that is rolled back, with rows that nobody may ever see."""
    hand.run("LOCK TABLE shapes IN ACCESS EXCLUSIVE MODE")
    if hand.chance.random() < 0.5:
        _write(hand)
    if hand.chance.random() < 0.6:
        hand.run("SAVEPOINT thought")
        _change(hand)
        _write(hand)
        hand.run("ROLLBACK TO thought")
        _write(hand)
    if hand.chance.random() < 0.8:
        _change(hand)
        _write(hand)


def _write(hand: Hand) -> None:
    next(deed for deed in DEEDS if deed.__name__ == "_write_shapes")(hand)


def _change(hand: Hand) -> None:
    columns = dict(
        hand.ask(
            """
            SELECT attname, format_type(atttypid, atttypmod)
            FROM pg_attribute
            WHERE attrelid = 'shapes'::regclass AND attnum > 0 AND NOT attisdropped
            """
        )
    )
    added = [name for name in columns if name not in _PLAIN]
    fresh = f"c{hand.chance.randbytes(3).hex()}"
    choices = [
        f"ALTER TABLE shapes ADD COLUMN {fresh} text",
        f"ALTER TABLE shapes ADD COLUMN {fresh} text DEFAULT 'given' NOT NULL",
        f"ALTER TABLE shapes ADD COLUMN {fresh} int DEFAULT 7",
    ]
    if added:
        one = hand.chance.choice(added)
        choices.append(f"ALTER TABLE shapes RENAME COLUMN {one} TO {fresh}")
        choices.append(f"ALTER TABLE shapes DROP COLUMN {one}")
        if columns[one] == "integer":
            choices += [f"ALTER TABLE shapes ALTER COLUMN {one} TYPE bigint"] * 2
    if len(added) > 6:
        choices = [f"ALTER TABLE shapes DROP COLUMN {added[0]}"]
    if columns["v"] == "character varying(20)":
        choices.append("ALTER TABLE shapes ALTER COLUMN v TYPE varchar(40)")
    hand.run(hand.chance.choice(choices))
