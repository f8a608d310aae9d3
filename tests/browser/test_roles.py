"""Signing in, and what each role is offered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import connect
from tests.browser.site import PASSWORD, Site, opened, site

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("guarded"), auth="required") as running:
        yield running


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    page.get_by_role("textbox", name="Email").fill(email)
    page.get_by_role("textbox", name="Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_roles_hide_what_they_may_not_do(browser: Browser, guarded: Site, shop: dict[str, Any], tmp_path: Path) -> None:
    made = connect(guarded, shop, tmp_path / "copy.duckdb", "Shop")
    for role in ("reader", "runner"):
        user = {"email": f"{role}@example.com", "name": role, "password": PASSWORD}
        user_id = guarded.post("/api/syncline/v1/users", user)["userId"]
        right = {"userId": user_id, "workspaceId": guarded.workspace, "permissionType": f"workspace_{role}"}
        guarded.post("/v1/permissions", right)
    path = f"/connections/{made['connectionId']}"
    with opened(browser, guarded, path) as page:
        sign_in(page, "reader@example.com")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Shop")
        expect(page.get_by_role("button", name="As code")).to_be_visible()
        expect(page.get_by_role("button", name="Sync now")).not_to_be_attached()
        expect(page.get_by_role("link", name="Set up")).not_to_be_attached()
        expect(page.get_by_role("link", name="Audit")).not_to_be_attached()
        page.goto(f"{guarded.base}{path}/settings")
        expect(page.get_by_role("textbox", name="Name", exact=True)).to_be_disabled()
        expect(page.get_by_role("button", name="Delete the connection")).not_to_be_attached()
        page.goto(f"{guarded.base}/setup")
        expect(page.get_by_text("Setting up is for editors")).to_be_visible()
    with opened(browser, guarded, path) as page:
        sign_in(page, "runner@example.com")
        expect(page.get_by_role("button", name="Sync now")).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).not_to_be_attached()
    with opened(browser, guarded, "/audit") as page:
        sign_in(page, "admin@localhost")
        expect(page.get_by_role("cell", name="create connection Shop", exact=True)).to_be_visible()


def test_a_wrong_password_is_told_and_a_right_one_leads_to_the_page_asked_for(browser: Browser, guarded: Site) -> None:
    with opened(browser, guarded, "/connectors?q=postgres") as page:
        sign_in(page, "admin@localhost", "wrong")
        expect(page.get_by_role("alert")).to_be_visible()
        sign_in(page, "admin@localhost")
        expect(page.get_by_role("heading", name="Connectors")).to_be_visible()
        expect(page.get_by_label("Find a connector")).to_have_value("postgres")


def test_an_ended_login_returns_to_the_same_page(browser: Browser, guarded: Site) -> None:
    with opened(browser, guarded, "/settings") as page:
        sign_in(page, "admin@localhost")
        page.get_by_label("Name").fill("half typed")
        # As when it has expired: the server knows the token no more.
        token = page.evaluate("sessionStorage.getItem('syncline.token')")
        assert httpx.get(f"{guarded.base}/api/syncline/v1/me", headers={"Authorization": f"Bearer {token}"}).is_success
        page.route("**/api/**", lambda route: route.fulfill(status=401, json={"message": "expired"}))
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Your session has ended")).to_be_visible()
        page.unroute("**/api/**")
        sign_in(page, "admin@localhost")
        expect(page.get_by_text("Your session has ended")).not_to_be_attached()
        expect(page.get_by_label("Name")).to_have_value("half typed")
