"""The declared services against their counterparts: limits of searches, lists within lists, gaps, children, tokens."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.rest_api.harness import Reader

from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.saas.hubspot import FakeHubspot
from syncline.testing.saas.sage_hr import FakeSageHr
from syncline.testing.saas.sage_intacct import FakeSageIntacct
from syncline.testing.saas.stripe import FakeStripe

NOW = datetime.now(UTC)
MERGED = "incremental_deduped_history"


def test_hubspot_finds_more_than_a_search_gives(tmp_path: Path) -> None:
    with FakeHubspot() as hubspot:
        hubspot.put("deals", 1, dealname="old", at=NOW - timedelta(days=3))
        reader = Reader(
            tmp_path, "hubspot", access_token=hubspot.token, base_url=hubspot.url,
            rate_limit={"requests_per_second": 1000}, properties={"deals": ["custom_field"]},
        )  # fmt: skip
        state = reader.good("deals", mode=MERGED).state
        hubspot.most_results = 300
        for i in range(1001):
            hubspot.put("deals", 10 + i, dealname=f"d{i}", amount="", custom_field=str(i))
        found = reader.good("deals", state=state, mode=MERGED)
        assert sorted(int(i) for i in found.column("id")) == list(range(10, 1011))
        assert set(found.column("amount")) == {None}, "an empty text is no number"
        assert found.rows[0]["custom_field"] == "0"
        assert found.states > 0
        assert reader.good("deals", state=found.state, mode=MERGED).rows == []


def test_hubspot_gives_every_association(tmp_path: Path) -> None:
    with FakeHubspot() as hubspot:
        hubspot.associations_at_once = 7
        hubspot.put("contacts", 1)
        hubspot.put("contacts", 2)
        for i in range(20):
            hubspot.associate(("contacts", 1), ("companies", 100 + i))
        reader = Reader(tmp_path, "hubspot", access_token=hubspot.token, base_url=hubspot.url)
        rows = reader.good("contact_companies").rows
        assert {(r["contact_id"], r["company_id"]) for r in rows} == {("1", str(100 + i)) for i in range(20)}
        assert len(rows) == 20


def test_hubspot_with_oauth(tmp_path: Path) -> None:
    with FakeHubspot() as hubspot:
        hubspot.put("contacts", 1, email="a@example.com")
        client, secret = hubspot.client
        credentials = {"client_id": client, "client_secret": secret, "refresh_token": "refresh-local"}
        for _ in range(2):  # the first run uses it up
            reader = Reader(tmp_path, "hubspot", credentials=credentials, base_url=hubspot.url)
            assert reader.good("contacts").column("email") == ["a@example.com"]


def test_stripe_lists_again_after_a_long_pause(tmp_path: Path) -> None:
    with FakeStripe() as stripe:
        long_ago = int(time.time()) - 90 * 86400
        stripe.put("customers", "cus_1", at=long_ago, email="a@example.com")
        config = {"client_secret": stripe.key, "base_url": stripe.url}
        reader = Reader(tmp_path, "stripe", **config)
        state = reader.good("customers", mode=MERGED).state
        stripe.put("customers", "cus_1", email="b@example.com")
        stripe.put("customers", "cus_1", email="c@example.com")
        found = reader.good("customers", state=state, mode=MERGED)
        assert found.column("email") == ["c@example.com"], "the newest of several events"
        old = {**state, "cursor": "2020-01-01T00:00:00Z"}
        again = reader.good("customers", state=old, mode=MERGED)
        assert again.column("email") == ["c@example.com"]
        assert any("everything is read again" in line for line in again.logs)
        assert stripe.asked[-1].path == "/v1/customers"


def test_stripe_names_a_wrong_key(tmp_path: Path) -> None:
    with FakeStripe() as stripe:
        with pytest.raises(SynclineError) as caught:
            Reader(tmp_path, "stripe", client_secret="sk_live_wrong_key", base_url=stripe.url).good("customers")
        assert caught.value.kind is ErrorKind.AUTH
        assert "sk_live_wrong_key" not in str(caught.value)


def test_sage_intacct_with_a_client_application(tmp_path: Path) -> None:
    with FakeSageIntacct() as sage:
        for key in range(1, 26):
            sage.put("accounts-payable/vendor", key, {"name": f"v{key}", "totalDue": "10.50"})
        config = {"company_id": "our-company", "base_url": f"{sage.url}/ia/api/v1", "page_size": 10}
        reader = Reader(tmp_path, "sage", api_key=":".join(sage.client), **config)
        read = reader.good("vendors", mode=MERGED)
        assert len(read.rows) == 25
        assert read.rows[0]["total_due"] == "10.50"
        assert sage.asked[0].body["username"] == "syncline@our-company"
        # Changed while it is read: what comes after is not passed over.
        assert reader.good("vendors", state=read.state, mode=MERGED).rows == []
        with pytest.raises(SynclineError) as caught:
            Reader(tmp_path, "sage", api_key="not-the-token", **config).good("vendors")
        assert caught.value.kind is ErrorKind.AUTH


@pytest.mark.slow
def test_sage_hr(tmp_path: Path) -> None:
    with FakeSageHr() as sage:
        sage.records["/employees"] = [{"id": i, "first_name": f"f{i}", "team": None} for i in range(1, 121)]
        for i in range(1, 121):
            balances = [{"policy": {"id": 1, "name": "Holiday"}, "used": 2.5, "available": i}]
            sage.records[f"/employees/{i}/leave-management/balances"] = balances
        config = {"api_key": sage.key, "base_url": f"{sage.url}/api", "rate_limit": {"requests_per_second": 1000}}
        reader = Reader(tmp_path, "sage_hr", **config)
        assert len(reader.good("employees").rows) == 120
        balances = reader.good("leave_balances").rows
        assert [(r["employee_id"], r["policy_name"], r["used"]) for r in balances[:2]] == [
            (1, "Holiday", "2.5"),
            (2, "Holiday", "2.5"),
        ]
        assert len(balances) == 120
