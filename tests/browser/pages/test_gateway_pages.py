"""The gateway's own pages: what runs, and the API that can be tried out."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.pages.conftest import Visit, Visitor, button, photo_file
from tests.support.stack import Stack

SERVICES = ("gateway", "temp-image", "media-store", "checkout", "planter-orders", "auth-verify")


@pytest.fixture
def docs(visitor: Visitor) -> Page:
    page = visitor.context.new_page()
    page.goto(f"{visitor.gateway}/docs")
    expect(operation(page, "post", "/api/temp-image-upload")).to_be_visible()
    return page


def operation(page: Page, method: str, path: str) -> Locator:
    """Return the box of one operation."""
    return page.locator(f".opblock-{method}").filter(has=page.get_by_role("link", name=path, exact=True))


def execute(page: Page, method: str, path: str, photo: Path | None = None) -> Locator:
    """Open an operation, send it as it stands there, and return what it says of the answer."""
    box = operation(page, method, path)
    box.locator(".opblock-summary-control").click()
    if photo is not None:
        box.locator("input[type=file]").first.set_input_files(photo)
    box.get_by_role("button", name="Execute").click()
    return box.locator(".live-responses-table .response-col_status").last


def test_the_front_page_tells_when_a_service_stops_and_when_it_is_back(visit: Visit, shop_stack: Stack) -> None:
    visitor = visit()
    page = visitor.context.new_page()
    page.goto(visitor.gateway)
    for service in SERVICES:
        expect(page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=service))).to_contain_text("runs")
    expect(page.get_by_role("status")).to_have_text("All is well")
    row = page.get_by_role("row").filter(has_text="media-store")
    shop_stack.kill("media-store")
    try:
        expect(row).to_contain_text("does not answer")
        expect(page.get_by_role("status")).to_have_text("Some of it does not answer")
    finally:
        shop_stack.start("media-store")
    expect(row).to_contain_text("runs")


def test_every_place_that_the_front_page_leads_to_is_there(visit: Visit) -> None:
    visitor = visit()
    page = visitor.context.new_page()
    page.goto(visitor.gateway)
    places = {link.get_attribute("href") or "" for link in page.get_by_role("main").get_by_role("link").all()}
    assert len(places) >= 6
    for place in places:
        answer = visitor.context.request.get(place if "://" in place else visitor.gateway + place)
        assert answer.status == 200, place


@pytest.mark.timeout(300)
def test_the_examples_of_the_documentation_work(docs: Page, tmp_path: Path) -> None:
    button(docs, "Fill in the examples").click()
    expect(docs.get_by_role("status")).to_contain_text("Done")
    photo = photo_file(tmp_path)
    for method, path, file, status in (
        ("post", "/api/auth/register", None, "201"),
        ("post", "/api/temp-image-upload", photo, "200"),
        ("get", "/api/temp-image-retrieve", None, "200"),
        ("get", "/media/{key}", None, "200"),
        ("post", "/media", photo, "204"),
        ("post", "/api/v1/organizations/{org_id}/images/promote", None, "200"),
        ("post", "/api/checkout/embedded-session", None, "200"),
        ("get", "/api/images/orders/{order_id}", None, "200"),
    ):
        expect(execute(docs, method, path, file), f"{method} {path}").to_have_text(status)


def test_the_token_box_opens_what_is_locked(docs: Page, visitor: Visitor) -> None:
    visitor.expect("401")
    expect(execute(docs, "get", "/api/images/orders")).to_have_text("401")
    user = {"username": f"box-{id(docs)}", "email": f"box-{id(docs)}@example.com", "password": "correct horse battery"}
    api = visitor.context.request
    assert api.post(f"{visitor.gateway}/api/auth/register", data=user).status == 201
    token = api.post(f"{visitor.gateway}/api/auth/login", data=user).json()["access_token"]
    docs.get_by_role("button", name="Authorize").first.click()
    box = docs.locator(".auth-container").filter(has_text="bearer")
    expect(box.get_by_role("textbox", name="auth-bearer-value")).to_be_focused()
    assert docs.locator(".modal-ux-content").evaluate("box => box.scrollTop") == 0
    expect(box).to_contain_text("The access_token that POST /api/auth/login answers.")
    box.get_by_role("textbox", name="auth-bearer-value").fill(token)
    box.locator("button.authorize").click()
    box.locator("button.btn-done").click()
    locked = operation(docs, "get", "/api/images/orders")
    locked.get_by_role("button", name="Execute").click()
    expect(locked.locator(".live-responses-table .response-col_status").last).to_have_text("200")
