"""Mappings over Arrow batches: each step, their order, odd values, changes of a log."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.mapping import Mapper, hash_native
from syncline.sdk.mapping.encryption import decrypt

FIELDS = (
    Field(name="id", type=pa.int64(), identity="7.1"),
    Field(name="email", type=pa.string(), native="text", identity="7.2"),
    Field(name="amount", type=pa.decimal128(10, 2), native="numeric(10,2)", identity="7.3"),
    Field(name="at", type=pa.timestamp("us", tz="UTC"), identity="7.4"),
    Field(name="doc", type=pa.string(), native="jsonb", logical="json", identity="7.5"),
)
ROWS = [
    {
        "id": 1,
        "email": "ann@x.org",
        "amount": Decimal("1.50"),
        "at": datetime(2024, 1, 2, tzinfo=UTC),
        "doc": '{"city": "Ulm", "geo": {"lat": 48.4}}',
    },
    {"id": 2, "email": None, "amount": None, "at": None, "doc": None},
    {
        "id": 3,
        "email": "",
        "amount": Decimal("-0.01"),
        "at": datetime(1969, 12, 31, tzinfo=UTC),
        "doc": '{"city": null}',
    },
    {"id": 4, "email": "Zoë\u0001@é.org", "amount": Decimal("99999999.99"), "at": None, "doc": "{}"},
]


def mapper(*steps: dict[str, Any], fields: tuple[Field, ...] = FIELDS) -> Mapper:
    return Mapper(StreamSchema(fields=fields), steps)


def batch(misfits: tuple[Misfit, ...] = ()) -> Batch:
    schema = StreamSchema(fields=FIELDS).arrow()
    return Batch(data=pa.RecordBatch.from_pylist(ROWS, schema=schema), misfits=misfits)


def mapped(*steps: dict[str, Any]) -> dict[str, list[Any]]:
    m = mapper(*steps)
    out = m.batch(batch())
    assert out.data.schema.equals(m.schema.arrow())
    out.data.validate(full=True)
    found: dict[str, list[Any]] = out.data.to_pydict()
    return found


def test_a_hash_is_that_of_the_text_and_a_keyed_one_is_an_hmac(monkeypatch):
    monkeypatch.setenv("HASH_KEY", "secret")
    plain = mapped({"hash": ["email"]})["email"]
    assert plain == [None if r["email"] is None else hashlib.sha256(r["email"].encode()).hexdigest() for r in ROWS]
    keyed = mapped({"hash": ["amount"], "key": "${env:HASH_KEY}", "suffix": "_h"})["amount_h"]
    texts = [None if r["amount"] is None else str(r["amount"]) for r in ROWS]
    assert keyed == [None if t is None else hmac.new(b"secret", t.encode(), "sha256").hexdigest() for t in texts]


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("method", ["sha256", "sha512", "md5"])
def test_hashes_are_the_same_with_and_without_the_compiled_library(monkeypatch, native, method):
    monkeypatch.setenv("SYNCLINE_NO_NATIVE", native)
    found = mapped({"hash": ["email"], "method": method})["email"]
    assert found[0] == hashlib.new(method, b"ann@x.org").hexdigest()
    assert found[2] == hashlib.new(method, b"").hexdigest()
    assert found[1] is None


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("key", [None, b"k", b"k" * 100])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_binary()])
def test_the_compiled_hash_knows_every_length_and_place(plain, key, kind):
    library = hash_native._library()
    if library is None:
        pytest.skip("no compiler was here when this was installed")
    values = [None if n % 7 == 3 else ("é" * (n % 5) + "x" * n) for n in range(200)]
    column = pa.array([v if v is None or pa.types.is_string(kind) else v.encode() for v in values], kind)
    for cut in (0, 1, 9, 200):
        found = hash_native.NativeHash(library, key, plain=plain)(column.slice(cut))
        found.validate(full=True)
        expected = [v if v is None else digits(v.encode(), key) for v in values[cut:]]
        assert found.to_pylist() == expected


def digits(value: bytes, key: bytes | None) -> str:
    return hashlib.sha256(value).hexdigest() if key is None else hmac.new(key, value, "sha256").hexdigest()


def test_values_that_no_carrier_holds_are_hashed_by_their_text_and_not_shown():
    told = Misfit(row=1, column="amount", text="NaN", reason="not a number")
    out = mapper({"hash": ["amount"]}).batch(batch((told,)))
    assert out.misfits == ()
    assert out.data.column("amount")[1].as_py() == hashlib.sha256(b"NaN").hexdigest()


def test_masks_show_what_they_are_told_to():
    assert mapped({"mask": ["email"]})["email"] == ["***", None, "***", "***"]
    assert mapped({"mask": ["email"], "with_text": ""})["email"] == ["", None, "", ""]
    kept = mapped({"mask": ["email"], "keep_first": 2, "keep_last": 3})["email"]
    assert kept == ["an****org", None, "", "Zo*****org"]
    assert mapped({"mask": ["amount"], "keep_last": 2})["amount"] == ["**50", None, "***01", "*********99"]
    short = mapped({"mask": ["email"], "keep_first": 5, "keep_last": 4})["email"]
    assert short == ["*********", None, "", "Zoë\u0001@*.org"]
    assert mapped({"mask": ["email"], "email": True})["email"] == ["a***@x.org", None, "***", "Z***@é.org"]


def test_casts_set_what_does_not_fit_aside_and_never_round():
    m = mapper({"cast": {"amount": "bigint", "email": "date", "id": "text"}})
    out = m.batch(batch())
    assert out.data.column("id").to_pylist() == ["1", "2", "3", "4"]
    assert {(x.row, x.column, x.text) for x in out.misfits} == {
        (0, "amount", "1.50"),
        (2, "amount", "-0.01"),
        (3, "amount", "99999999.99"),
        (0, "email", "ann@x.org"),
        (2, "email", ""),
        (3, "email", "Zoë\u0001@é.org"),
    }
    assert all(x.rule for x in out.misfits)
    with pytest.raises(SynclineError, match="no bigint; 3 of 4 rows"):
        mapper({"cast": {"amount": "bigint"}, "misfits": "fail"}).batch(batch())
    dates = mapper({"derive": {"d": "'2024-02-30'"}}, {"cast": {"d": "date"}}).batch(batch())
    assert len(dates.misfits) == 4
    fine = mapper({"derive": {"d": "'2024-02-29'"}}, {"cast": {"d": "date"}}).batch(batch())
    assert fine.data.column("d")[0].as_py() == date(2024, 2, 29)


def test_expressions_see_the_columns_of_one_row():
    found = mapped({"derive": {"twice": "amount * 2", "Who": "upper(Email)", "n": "NULL", "year": 'year("at")'}})
    assert found["twice"] == [Decimal("3.00"), None, Decimal("-0.02"), Decimal("199999999.98")]
    assert found["Who"] == ["ANN@X.ORG", None, "", "ZOË\u0001@É.ORG"]
    assert found["n"] == [None] * 4
    assert found["year"] == [2024, None, 1969, None]
    assert mapped({"derive": {"one": "1"}})["one"] == [1] * 4
    assert mapped({"derive": {"amount": "amount::VARCHAR"}})["amount"][0] == "1.50"


def test_a_row_whose_expression_fails_is_set_aside():
    out = mapper({"derive": {"n": "CAST(email AS INTEGER)"}}).batch(batch())
    assert [m.row for m in out.misfits] == [0, 2, 3]
    told = Misfit(row=3, column="amount", text="NaN", reason="not a number")
    out = mapper({"derive": {"n": "amount + 1"}}).batch(batch((told,)))
    assert {(m.row, m.column, bool(m.rule)) for m in out.misfits} == {(3, "amount", False), (3, "n", True)}


@pytest.mark.parametrize(
    "text",
    [
        "(SELECT 1)",
        "sum(id)",
        "row_number() OVER ()",
        "id FROM read_csv('/etc/passwd')",
        "1); DROP TABLE rows; --",
        "read_text('/etc/passwd')",
        "getenv('HOME')",
        "unnest([1, 2])",
        "*",
        "COLUMNS('.*')",
        "?",
        "",
        "no_such + 1",
        "(id",
        "id WHERE id = 1",
        "(FROM duckdb_settings())",
        "regexp_matches(email, '(')",
        "{'a': id}",
    ],
)
def test_what_is_no_expression_over_one_row_is_refused(text):
    with pytest.raises(SynclineError) as error:
        mapper({"derive": {"x": text}})
    assert error.value.kind is ErrorKind.CONFIG


def test_a_regex_that_explodes_elsewhere_takes_no_time():
    fields = (Field(name="t", type=pa.string()),)
    m = mapper({"filter": "regexp_matches(t, '(a+)+$')"}, fields=fields)
    data = pa.RecordBatch.from_pydict({"t": ["a" * 100_000 + "b"] * 20})
    assert m.batch(Batch(data=data)).rows == 0


@pytest.mark.parametrize("step", [{"derive": {"n": "{}"}}, {"filter": "{} > 0"}])
def test_an_expression_that_does_not_end_is_given_up(step):
    endless = "list_sum(list_transform(range(k), x -> list_sum(range(x))))"
    ((verb, text),) = step.items()
    text = {"n": endless} if verb == "derive" else text.format(endless)
    m = mapper({verb: text, "timeout": 0.05}, fields=(Field(name="k", type=pa.int64()),))
    data = pa.RecordBatch.from_pydict({"k": [100] * 20_000})
    with pytest.raises(SynclineError, match=r"took longer than 0\.05 s for one batch") as error:
        m.batch(Batch(data=data))
    assert error.value.kind is ErrorKind.RESOURCE


def test_filters_leave_out_what_is_not_true():
    assert mapped({"filter": "amount > 0"})["id"] == [1, 4]
    assert mapped({"filter": "id > 100"})["id"] == []
    told = (
        Misfit(row=1, column="amount", text="NaN", reason="x"),
        Misfit(row=2, column="at", text="infinity", reason="y"),
    )
    out = mapper({"filter": "amount > 0 OR id = 3"}).batch(batch(told))
    assert out.data.column("id").to_pylist() == [1, 2, 3, 4]  # nobody can say it of row 2: it goes aside
    assert {(m.row, m.column, bool(m.rule)) for m in out.misfits} == {
        (1, "amount", False),
        (1, "amount", True),
        (2, "at", False),
    }
    out = mapper({"filter": "id >= 3"}).batch(batch(told))
    assert [(m.row, m.column) for m in out.misfits] == [(0, "at")]


def test_json_is_taken_apart_by_the_keys_that_are_named():
    found = mapped({"flatten": "doc", "keys": {"city": "text", "geo.lat": "double", "geo": "json"}})
    assert list(found) == ["id", "email", "amount", "at", "doc_city", "doc_geo_lat", "doc_geo"]
    assert found["doc_city"] == ["Ulm", None, None, None]
    assert found["doc_geo_lat"] == [48.4, None, None, None]
    with pytest.raises(SynclineError, match="whose keys nobody knows"):
        mapper({"flatten": "doc"})


def test_structs_are_taken_apart_to_a_depth():
    inner = pa.struct([("c", pa.int64()), ("d", pa.struct([("e", pa.string())]))])
    fields = (Field(name="s", type=pa.struct([("a", pa.string()), ("b", inner)])), Field(name="z", type=pa.int8()))
    data = pa.RecordBatch.from_pylist(
        [{"s": {"a": "x", "b": {"c": 1, "d": {"e": "y"}}}, "z": 1}, {"s": None, "z": None}],
        schema=StreamSchema(fields=fields).arrow(),
    )
    one = mapper({"flatten": "s"}, fields=fields).batch(Batch(data=data)).data
    assert one.schema.names == ["s_a", "s_b", "z"]
    two = mapper({"flatten": "s", "depth": 2, "separator": "."}, fields=fields).batch(Batch(data=data)).data
    assert two.schema.names == ["s.a", "s.b.c", "s.b.d", "z"]
    assert two.column("s.b.c").to_pylist() == [1, None]


def test_encrypted_values_come_back_also_after_a_rotation(monkeypatch):
    monkeypatch.setenv("K1", "11" * 32)
    monkeypatch.setenv("K2", "Qk1" + "A" * 40 + "=")
    keys = {"1": "${env:K1}", "2": "${env:K2}"}
    first = mapped({"encrypt": ["email"], "keys": keys, "use": "1"})["email"]
    second = mapped({"encrypt": ["email"], "keys": keys})["email"]
    clear = {"1": "11" * 32, "2": "Qk1" + "A" * 40 + "="}
    for made, version in ((first, "1"), (second, "2")):
        assert made[1] is None
        assert made[0].startswith(f"syncline:aes-gcm:{version}:")
        assert [None if v is None else decrypt(v, clear) for v in made] == [r["email"] for r in ROWS]
    with pytest.raises(SynclineError, match="cannot be decrypted"):
        decrypt(first[0], {"1": "22" * 32})
    with pytest.raises(SynclineError, match="cannot be decrypted"):
        decrypt(first[0][:-6] + "AAAA==", clear)
    with pytest.raises(SynclineError, match="version '1' is missing"):
        decrypt(first[0], {"2": clear["2"]})
    monkeypatch.delenv("K2")
    with pytest.raises(SynclineError, match="K2 is not set") as error:
        mapper({"encrypt": ["email"], "keys": keys})
    assert error.value.kind is ErrorKind.CONFIG
    assert mapped({"encrypt": ["email"], "keys": keys, "use": "1"})  # the other is not needed


def test_rsa_encrypts_for_the_holder_of_the_private_key():
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    private = generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()
    pem = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    made = mapped({"encrypt": ["doc"], "method": "rsa", "key": public, "suffix": "_enc"})["doc_enc"]
    assert [None if v is None else decrypt(v, {"1": pem}) for v in made] == [r["doc"] for r in ROWS]


def test_steps_follow_one_another_and_columns_that_nobody_needs_are_not_read():
    m = mapper(
        {"derive": {"domain": "split_part(email, '@', 2)"}},
        {"drop": ["email"]},
        {"rename": {"domain": "email", "amount": "id", "id": "amount"}},
        {"hash": ["email"]},
        {"keep": ["email", "amount"]},
    )
    assert m.schema.names == ("amount", "email")
    assert m.needed() == ("id", "email")
    full = m.batch(batch()).data
    some = m.batch(Batch(data=batch().data.select(["id", "email"]))).data
    assert full.equals(some)
    assert full.column("amount").to_pylist() == [1, 2, 3, 4]
    assert m.lineage("email").name is None
    assert (m.lineage("id").name, m.lineage("id").same) == ("amount", True)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"hash": ["emial"]}], "there is no column 'emial'"),
        ([{"rename": {"email": "ID"}}], "'id' and 'ID'|'ID' and 'id'"),
        ([{"rename": {"email": "id"}}], "two columns would be called 'id'"),
        ([{"derive": {"EMAIL": "1"}}], "many destinations take for one"),
        ([{"drop": ["id", "email", "amount", "at", "doc"]}], "no column would be left"),
        ([{"cast": {"at": "boolean"}}], "cannot become boolean"),
        ([{"drop": ["email"]}, {"mask": ["email"]}], "there is no column 'email'"),
        ([{"mask": ["email"], "email": True, "keep_last": 1}], "exclude each other"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(steps, words):
    with pytest.raises(SynclineError, match=words) as error:
        mapper(*steps)
    assert error.value.kind is ErrorKind.CONFIG


def test_a_source_that_has_such_names_itself_is_let_be():
    fields = (Field(name="a", type=pa.int8(), identity="1.1"), Field(name="A", type=pa.int8(), identity="1.2"))
    assert mapper({"cast": {"a": "bigint"}}, fields=fields).schema.names == ("a", "A")
