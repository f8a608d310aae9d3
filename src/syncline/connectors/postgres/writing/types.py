"""Column types of the destination: from the source's own type where it is a Postgres one, else from the Arrow carrier.

Also which type fits into which, for tables that are there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg import sql

from syncline.connectors.postgres.reading.statement import commas, run
from syncline.core.schema import Field

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["ONLY_AT_HOME", "Fit", "arrow_column_type", "fit", "resolve_types"]

#: Types that exist everywhere and yet are not kept: their input refuses everything, or their values mean something only
#: in the database that printed them (names of its roles, tables, functions; the currency and decimals of its locale).
ONLY_AT_HOME = frozenset(
    {
        "money",
        "aclitem",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
        "pg_ddl_command",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_ndistinct",
        "pg_node_tree",
        "regclass",
        "regcollation",
        "regconfig",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
    }
)

#: What ``format_type`` prints for types of pg_catalog with a modifier; nothing in it can end a type name in SQL.
_MODIFIED = re.compile(r"[a-z][a-z0-9_ ]*\((?:\d+)(?:,-?\d+)?\)(?: with(?:out)? time zone)?(?:\[\])*")
_MODIFIER = re.compile(r"(\([A-Za-z0-9_, -]+\))((?: with(?:out)? time zone)?(?:\[\])*)$")


_PLAIN: Mapping[pa.DataType, str] = {
    pa.null(): "text",
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "smallint",
    pa.uint16(): "integer",
    pa.uint32(): "bigint",
    pa.uint64(): "numeric(20,0)",
    pa.float16(): "real",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.string_view(): "text",
    pa.binary(): "bytea",
    pa.large_binary(): "bytea",
    pa.binary_view(): "bytea",
    pa.date32(): "date",
    pa.date64(): "date",
    pa.month_day_nano_interval(): "interval",
}

#: Meaning of a text carrier -> column type.
_LOGICAL: Mapping[str, str] = {
    "json": "jsonb",
    "uuid": "uuid",
    "numeric": "numeric",
    "interval": "interval",
    "xml": "xml",
}


def arrow_column_type(kind: pa.DataType, logical: str | None = None) -> str:
    """The column type for an Arrow type. Total: what has no column type of its own becomes jsonb (nested) or text."""
    if isinstance(kind, pa.BaseExtensionType):
        return "uuid" if kind.extension_name == "arrow.uuid" else arrow_column_type(kind.storage_type, logical)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return arrow_column_type(kind.value_type, logical)
    if logical is not None and logical in _LOGICAL and _is_text(kind):
        return _LOGICAL[logical]
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_decimal(kind):
        return _numeric(kind.precision, kind.scale)
    if pa.types.is_fixed_size_binary(kind):
        return "bytea"
    if pa.types.is_time(kind):
        return "time without time zone"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz is not None else "timestamp without time zone"
    if pa.types.is_duration(kind):
        return "interval"
    if is_list(kind) and not pa.types.is_nested(kind.value_type):
        return arrow_column_type(kind.value_type, logical) + "[]"
    return "jsonb" if pa.types.is_nested(kind) else "text"


def is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _numeric(precision: int, scale: int) -> str:
    # Before Postgres 15 the scale had to lie between 0 and the precision; these forms hold the same values.
    if scale < 0:
        return f"numeric({precision - scale},0)"
    return f"numeric({max(precision, scale)},{scale})"


def resolve_types(
    session: Session, fields: Iterable[Field], *, dialect: str | None, schema: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Column types for ``fields``, fit to go into SQL, and the native types among them that this server does not have
    (name of the field -> native type), for which the Arrow carrier decides instead.

    A native type is looked for as the destination's own sessions would: in ``schema``, then on the role's search path.
    Costs two round trips when there are native types at all. ``session`` may be in a transaction.
    """
    fields = list(fields)
    native = {f.native for f in fields if dialect == "postgres" and f.native}
    known = _known_types(session, native, schema) if native else {}
    types: dict[str, str] = {}
    missing: dict[str, str] = {}
    for f in fields:
        if dialect == "postgres" and f.native and (found := known.get(f.native)):
            types[f.name] = found
        else:
            types[f.name] = arrow_column_type(f.type, f.logical if dialect != "postgres" else None)
            if dialect == "postgres" and f.native:
                missing[f.name] = f.native
                types[f.name] = arrow_column_type(f.type, _sure_logical(f))
    if any(kind in ("xml", "xml[]") for kind in types.values()) and not _reads_xml(session):
        for name, kind in types.items():
            if kind in ("xml", "xml[]"):
                types[name] = kind.replace("xml", "text")
                missing[name] = kind
    return types, missing


def _reads_xml(session: Session) -> bool:
    """Whether the server was built with libxml; without, the type is there and takes nothing."""
    import psycopg

    try:
        with session.transaction():
            run(session, "SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def _sure_logical(field: Field) -> str | None:
    """A text carrier of a type that this server lacks is text, except where its meaning is certain."""
    return field.logical if field.logical in ("uuid", "numeric") else None


def _known_types(session: Session, natives: set[str], schema: str) -> dict[str, str]:
    """Native type -> how this server prints it, for those that it has and can keep."""
    split = {native: _without_modifier(native) for native in natives}
    # Rolled back, so that the path does not stay for the rest of a transaction around this one.
    with session.transaction(force_rollback=True):
        run(
            session,
            """
            SELECT set_config('search_path', quote_ident({schema}) || ', ' || reset_val, true)
            FROM pg_settings
            WHERE name = 'search_path' AND reset_val <> ''
            """,
            schema=schema,
        )
        oids = _type_oids(session, sorted({bare for bare, _ in split.values()}))
    if not oids:
        return {}
    printed = {
        int(oid): (str(text), bool(builtin))
        for oid, text, builtin, usable in run(
            session,
            """
            SELECT t.oid::int8, format_type(t.oid, NULL), t.oid < 16384,
                   t.typtype <> 'p' AND t.typisdefined AND coalesce(e.typname, t.typname) <> ALL ({home})
                   AND has_type_privilege(t.oid, 'USAGE')
            FROM pg_type t
            LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
            WHERE t.oid::int8 IN ({oids})
            """,
            home=sql.SQL("ARRAY[{}]::name[]").format(commas(sql.Literal(n) for n in sorted(ONLY_AT_HOME))),
            oids=commas(sql.Literal(o) for o in sorted(set(oids.values()))),
        ).fetchall()
        if usable
    }
    known: dict[str, str] = {}
    for native, (bare, modifier) in split.items():
        if (found := printed.get(oids.get(bare, 0))) is None:
            continue
        text, builtin = found
        if not modifier:
            known[native] = text
        elif builtin and _MODIFIED.fullmatch(native):
            known[native] = native
        elif not builtin:
            known[native] = text.removesuffix("[]") + modifier + ("[]" if text.endswith("[]") else "")
    return known


def _without_modifier(native: str) -> tuple[str, str]:
    """``numeric(15,2)[]`` -> (``numeric[]``, ``(15,2)``)."""
    found = _MODIFIER.search(native)
    if found is None:
        return native, ""
    return native[: found.start()] + found[2], found[1]


def _type_oids(session: Session, names: Sequence[str]) -> dict[str, int]:
    """Oids of those types that this server has."""
    import psycopg

    try:
        with session.transaction():
            rows = run(
                session,
                "SELECT name, to_regtype(name)::oid::int8 FROM unnest(ARRAY[{names}]::text[]) name",
                names=commas(sql.Literal(name) for name in names),
            ).fetchall()
    except (psycopg.errors.ProgrammingError, psycopg.errors.NotSupportedError):
        # Before Postgres 16 one text that is no type's name at all raises for all: find out which.
        if len(names) == 1:
            return {}
        return {name: oid for each in names for name, oid in _type_oids(session, [each]).items()}
    return {name: int(oid) for name, oid in rows if oid is not None}


class Fit:
    """How a new column type goes with the one that is there."""

    SAME = "same"
    KEEP = "keep"  #: every new value fits into the existing column
    WIDEN = "widen"  #: every existing value fits into the new type: ALTER COLUMN … TYPE loses nothing
    NO = "no"


_INTS = ("smallint", "integer", "bigint")
_FLOATS = ("real", "double precision")
_TEXTS = ("text", "character varying")
_NUMERIC = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?")
_VARCHAR = re.compile(r"character varying(?:\((\d+)\))?")
_FRACTION = re.compile(r"(time|timestamp)(?:\((\d)\))?( with(?:out)? time zone)")
#: Types whose text form says everything, so that a text column holds them.
_AS_TEXT = re.compile(r"character(\(\d+\))?|character varying(\(\d+\))?|text|uuid|json|xml|name|.+\.citext|citext")


def fit(new: str, existing: str) -> str:
    """How values of type ``new`` go into a column of type ``existing``; both as the server prints them."""
    if new == existing:
        return Fit.SAME
    if _contains(existing, new):
        return Fit.KEEP
    return Fit.WIDEN if _contains(new, existing) else Fit.NO


def _contains(wide: str, narrow: str) -> bool:
    """Whether each value of ``narrow`` is a value of ``wide``, exactly."""
    for family in (_INTS, _FLOATS):
        if wide in family and narrow in family:
            return family.index(wide) >= family.index(narrow)
    if (w := _NUMERIC.fullmatch(wide)) and (n := _NUMERIC.fullmatch(narrow)):
        # The same scale: with another one the values stay but their text form (1.5 and 1.50) does not.
        return w[1] is None or (n[1] is not None and w[2] == n[2] and int(w[1]) >= int(n[1]))
    if (w := _NUMERIC.fullmatch(wide)) and narrow in _INTS:
        digits = {"smallint": 5, "integer": 10, "bigint": 19}[narrow]
        return w[1] is None or int(w[1]) - int(w[2]) >= digits
    if wide == "text" and _AS_TEXT.fullmatch(narrow):
        return True
    if (w := _VARCHAR.fullmatch(wide)) and (narrow == "text" or _VARCHAR.fullmatch(narrow)):
        n = _VARCHAR.fullmatch(narrow)
        return w[1] is None or (n is not None and n[1] is not None and int(w[1]) >= int(n[1]))
    if (w := _FRACTION.fullmatch(wide)) and (n := _FRACTION.fullmatch(narrow)):
        return w[1] == n[1] and w[3] == n[3] and int(w[2] or 6) >= int(n[2] or 6)
    return False
