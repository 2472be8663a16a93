"""How every page looks to those who see it small, large, light or dark, and to those who do not see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages.conftest import Visit, Visitor, button, photo_file
from tests.support.node import ensure_installed

AXE = Path(__file__).with_name("axe")
WIDTHS = (360, 768, 1440, 1920)
WITHOUT_SWAGGER_UI = "({ exclude: ['#swagger-ui'] })"  # its colours and contrast are its own
LOOK = f"axe.run({WITHOUT_SWAGGER_UI}, {{ resultTypes: ['violations'] }})"


@pytest.fixture(scope="module")
def axe() -> str:
    ensure_installed(AXE)
    return (AXE / "node_modules" / "axe-core" / "axe.min.js").read_text()


def front(visitor: Visitor, _photo: Path) -> Page:
    page = visitor.context.new_page()
    page.goto(visitor.gateway)
    expect(page.get_by_role("status")).to_have_text("All is well")
    return page


def docs(visitor: Visitor, _photo: Path) -> Page:
    page = visitor.context.new_page()
    page.goto(f"{visitor.gateway}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    return page


def sandbox(visitor: Visitor, _photo: Path) -> Page:
    page = visitor.context.new_page()
    page.goto(f"http://localhost:{visitor.stack.ports['stripe-sandbox']}")
    return page


def purchase(visitor: Visitor, photo: Path) -> Page:
    page = visitor.open()
    page.get_by_label("Choose photo").set_input_files(photo)
    button(page, "Upload").click()
    expect(button(page, "Pay")).to_be_enabled()
    page.get_by_text("/api/temp-image-upload").click()
    return page


def payment(visitor: Visitor, photo: Path) -> Page:
    page = purchase(visitor, photo)
    button(page, "Pay").click()
    page.wait_for_url("**/pay/*")
    return page


def bought(visitor: Visitor, photo: Path) -> Page:
    page = payment(visitor, photo)
    button(page, "Pay").click()
    expect(page.get_by_role("img", name="The photo you bought")).to_be_visible()
    return page


def pet_art(visitor: Visitor, photo: Path) -> Page:
    page = visitor.open("/pet-art")
    page.get_by_label("Choose photo").set_input_files(photo)
    button(page, "Store").click()
    expect(page.get_by_role("link", name="Original")).to_be_visible()
    return page


def signing_in(visitor: Visitor, _photo: Path) -> Page:
    visitor.expect("401")
    page = visitor.open("/profile")
    page.get_by_label("Username").fill("nobody")
    page.get_by_label("Password").fill("not the password")
    button(page, "Sign in").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    return page


def profile(visitor: Visitor, photo: Path) -> Page:
    order(visitor, photo)  # registers a customer
    page = visitor.context.pages[-1]
    page.goto(f"{visitor.shop}/profile")
    expect(page.get_by_text("No picture yet")).to_be_visible()
    page.get_by_label("Choose photo").set_input_files(photo)
    page.get_by_label("Caption").fill("Averylongcaptionwithoutanyplacetobreakit" * 3)
    button(page, "Upload").click()
    expect(button(page, "Delete")).to_be_visible()
    return page


def planter(visitor: Visitor, photo: Path) -> Page:
    page = visitor.open("/planter")
    page.get_by_label("Choose photo").set_input_files([photo] * 5)
    expect(page.get_by_role("alert")).not_to_be_empty()
    return page


def order(visitor: Visitor, photo: Path) -> Page:
    page = visitor.open("/planter")
    page.get_by_label("Choose photo").set_input_files([photo] * 2)
    button(page, "Place order").click()
    expect(page.get_by_text("nearly the same")).to_have_count(2)
    return page


def event(visitor: Visitor, photo: Path) -> Page:
    page = visitor.open("/event")
    button(page, "Create organisation").click()
    page.get_by_label("Choose photo").set_input_files(photo)
    button(page, "Upload").click()
    expect(page.get_by_role("link", name="/media/temp/")).to_be_visible()
    return page


PAGES: dict[str, Callable[[Visitor, Path], Page]] = {
    "front page": front,
    "documentation": docs,
    "sandbox": sandbox,
    "purchase": purchase,
    "payment": payment,
    "bought": bought,
    "pet art": pet_art,
    "signing in": signing_in,
    "profile": profile,
    "planter": planter,
    "order": order,
    "event": event,
}


@pytest.mark.parametrize("name", PAGES)
def test_no_page_scrolls_sideways_or_has_a_barrier(visit: Visit, tmp_path: Path, axe: str, name: str) -> None:
    visitor = visit(bypass_csp=True, reduced_motion="reduce")
    page = PAGES[name](visitor, photo_file(tmp_path))
    page.evaluate(axe)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, width
            if width in {360, 1440}:
                found = page.evaluate(LOOK)["violations"]
                assert [(each["id"], each["help"], [node["html"] for node in each["nodes"]]) for each in found] == []


def test_whoever_wants_no_motion_gets_none(visit: Visit) -> None:
    page = visit(reduced_motion="reduce").open()
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0
