"""The dashboard: the shop owner's whole day, on the embedded defaults and on Redis, PostgreSQL and S3."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from PIL import ImageFilter
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages.conftest import BLURRED, DEVICES, Visitor, button, held, photo_file, status_of
from tests.browser.pages.test_looks import LOOK, WIDTHS, axe
from tests.support import pictures
from tests.support.postgres import fresh_database
from tests.support.processes import free_port
from tests.support.s3 import fresh_bucket
from tests.support.stack import MODULES, Stack

__all__ = ["axe"]

expect.set_options(timeout=15_000)

PASSWORD = "correct horse battery"
OWNER = "owner"
Backends = Callable[[pytest.FixtureRequest, ExitStack], dict[str, str]]


def embedded(_request: pytest.FixtureRequest, _opened: ExitStack) -> dict[str, str]:
    return {}


def servers(request: pytest.FixtureRequest, opened: ExitStack) -> dict[str, str]:
    bucket = opened.enter_context(fresh_bucket(request.getfixturevalue("s3_server")))
    return {
        "REDIS_URL": request.getfixturevalue("redis_server_url").rsplit("/", 1)[0] + "/9",
        "DATABASE_URL": opened.enter_context(fresh_database(request.getfixturevalue("postgres_server_url"))),
        **bucket.settings,
    }


@pytest.fixture(scope="module", params=[embedded, servers], ids=["embedded", "servers"])
def shop_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack with an owner; its webhooks go where nobody listens."""
    with ExitStack() as opened:
        stack = Stack(tmp_path_factory.mktemp("owner"), request.param(request, opened))
        stack.settings["PUBLIC_URL"] = f"http://localhost:{stack.ports['gateway']}"
        stack.settings["FRONTEND_URL"] = "http://localhost:3000"
        stack.settings["ORDER_WEBHOOK_URL"] = f"http://127.0.0.1:{free_port()}/hook"
        stack.settings["ORDER_WEBHOOK_SECRET"] = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy1hbG9uZQ=="
        opened.callback(stack.stop_all)
        stack.start(*MODULES)
        command = [sys.executable, "-m", MODULES["auth-verify"], "create-admin", "--username", OWNER]
        subprocess.run(
            [*command, "--email", "owner@shop.example"],
            cwd=stack.folder,
            env=stack.environment(),
            input=f"{PASSWORD}\n",
            text=True,
            check=True,
        )
        yield stack


@pytest.fixture
def visit(chromium: Browser, shop_stack: Stack) -> Iterator[Callable[..., Visitor]]:
    """Opens a browser with nothing in it; at the end none may have complained."""
    visitors: list[Visitor] = []

    def come(device: str = "desktop", **options: Any) -> Visitor:
        visitors.append(Visitor(chromium.new_context(**{**DEVICES[device], **options}), shop_stack))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.unexpected() for visitor in visitors] == [[] for _ in visitors]


class Customer:
    """Somebody who buys, without a browser."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.gateway = stack.settings["PUBLIC_URL"]
        self.name = f"sam-{uuid4().hex[:8]}"
        self.http = requests.Session()
        self.ask(
            "POST",
            "/api/auth/register",
            json={"username": self.name, "email": f"{self.name}@example.com", "password": PASSWORD},
        )
        tokens = self.ask("POST", "/api/auth/login", json={"username": self.name, "password": PASSWORD})
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def ask(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        answer = self.http.request(method, self.gateway + path, timeout=20, **sent)
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def order(self, pet: str, *photos: Path) -> str:
        files = [("files", (photo.name, photo.read_bytes(), "image/jpeg")) for photo in photos]
        order_id: str = self.ask("POST", "/api/images/upload", files=files, data={"pet_name": pet})["order_id"]
        session = self.ask("POST", "/api/checkout/embedded-session", json={"order_id": order_id})["session_id"]
        self.pay(session)
        return order_id

    def pay(self, session: str) -> None:
        page = self.stack.url("stripe-sandbox") + f"/pay/{session}"
        assert requests.post(page, data={"action": "pay"}, allow_redirects=False, timeout=20).status_code == 303


@pytest.fixture
def customer(shop_stack: Stack) -> Customer:
    return Customer(shop_stack)


def sign_in(visitor: Visitor, username: str = OWNER, path: str = "/admin") -> Page:
    page = visitor.context.new_page()
    page.goto(visitor.gateway + path)
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    button(page, "Sign in").click()
    return page


def view(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def yes(page: Page, name: str) -> None:
    button(page.get_by_role("dialog"), name).click()


@pytest.mark.parametrize("device", DEVICES)
def test_the_owners_day(visit: Callable[..., Visitor], customer: Customer, tmp_path: Path, device: str) -> None:
    blurred = photo_file(tmp_path, 1, pictures.photo(seed=1).filter(ImageFilter.GaussianBlur(6)))
    order_id = customer.order(f"Rex <b>{customer.name}</b>", photo_file(tmp_path, 0), blurred)
    page = sign_in(visit(device))
    expect(page.get_by_role("heading", name="Today")).to_be_visible()
    expect(page.get_by_role("link", name="paid, to be made")).to_be_visible()

    # The order is there, its text is text, and one photo is blurred: another one is asked for.
    view(page, "Orders")
    page.get_by_role("link", name=f"Rex <b>{customer.name}</b>").click()
    expect(page).to_have_url(re.compile(f"/admin/orders/{order_id}$"))
    card = page.get_by_role("listitem").filter(has_text=blurred.name)
    expect(card.get_by_text("blurred", exact=True)).to_be_visible()
    button(card, "Ask for another photo").click()
    page.get_by_role("dialog").get_by_label("Reason").select_option("blurred")
    page.get_by_role("dialog").get_by_label("Note").fill("From nearer, please")
    yes(page, "Ask for it")
    expect(card.get_by_text("From nearer, please")).to_be_visible()

    # The customer sends it, and the page shows it by itself.
    entry = customer.ask("GET", f"/api/images/orders/{order_id}")["order"]["files"][1]
    better = photo_file(tmp_path, 2)
    customer.ask(
        "PUT",
        entry["url"].removeprefix(customer.gateway),
        files={"file": (better.name, better.read_bytes(), "image/jpeg")},
    )
    expect(page.get_by_role("listitem").filter(has_text=better.name).get_by_text("good photo")).to_be_visible()

    # In production and shipped, undone once on the way; the address can be loaded again.
    button(page, "Mark as in_production").click()
    button(page, "Undo").click()
    expect(button(page, "Mark as in_production")).to_be_visible()
    button(page, "Mark as in_production").click()
    expect(status_of(page)).to_contain_text("The order is in_production.")
    page.reload()
    button(page, "Mark as shipped").click()
    expect(status_of(page)).to_contain_text("The order is shipped.")
    steps = page.get_by_role("list", name="Timeline").get_by_role("listitem")
    for status in ("pending", "paid", "in_production", "shipped"):
        expect(steps.filter(has_text=re.compile(rf"^{status} "))).to_have_count(1)
    assert customer.ask("GET", f"/api/images/orders/{order_id}")["order"]["status"] == "shipped"

    # A refund in part, once.
    view(page, "Payments")
    row = page.get_by_role("row").filter(has=page.locator(f"a[href$='{order_id}']"))
    button(row, "Refund").click()
    page.get_by_role("dialog").get_by_label("Amount in USD").fill("10.00")
    yes(page, "Refund")
    expect(row).to_contain_text("$10.00 given back")

    # A webhook that reaches nobody is sent again.
    view(page, "Webhooks")
    button(page.get_by_role("row").filter(has=page.locator(f"a[href$='{order_id}']")).first, "Send again").click()
    expect(status_of(page)).to_contain_text("on its way again")

    # The storage works, the services run, and whoever signs out is out.
    view(page, "Storage")
    button(page, "Write, read and delete a probe").click()
    expect(status_of(page)).to_have_text("The storage works.")
    view(page, "System")
    expect(page.get_by_text("healthy").first).to_be_visible()
    button(page, "Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Password")).to_be_visible()
    assert page.evaluate("JSON.stringify(sessionStorage)") == "{}"


def test_an_image_is_taken_down_and_a_user_disabled(
    visit: Callable[..., Visitor], customer: Customer, tmp_path: Path
) -> None:
    photo = photo_file(tmp_path)
    sent = {"username": customer.name, "image_type": "gallery", "caption": f"Of {customer.name}"}
    files = {"image": (photo.name, photo.read_bytes(), "image/jpeg")}
    url = customer.ask("POST", "/api/upload_user_image/", files=files, data=sent)["image"]["url"]
    page = sign_in(visit(), path=f"/admin/images?username={customer.name}")
    item = page.get_by_role("listitem").filter(has=page.get_by_role("img", name=sent["caption"]))
    button(item, "Take down").click()
    yes(page, "Take down")
    expect(status_of(page)).to_contain_text("The image is gone.")
    assert requests.get(url, timeout=10).status_code == 404

    page.goto(f"{customer.gateway}/admin/users?query={customer.name}")
    button(page.get_by_role("row").filter(has_text=f"{customer.name}@example.com"), "Disable").click()
    yes(page, "Disable")
    expect(page.get_by_text("disabled", exact=True)).to_be_visible()
    assert customer.http.get(f"{customer.gateway}/api/auth/me", timeout=10).status_code == 401


def test_a_placeholder_is_there_until_the_picture_is(
    visit: Callable[..., Visitor], customer: Customer, tmp_path: Path
) -> None:
    order_id = customer.order(customer.name, photo_file(tmp_path))
    sent = {"username": customer.name, "image_type": "gallery", "caption": f"Of {customer.name}"}
    files = {"image": ("photo.jpg", photo_file(tmp_path).read_bytes(), "image/jpeg")}
    customer.ask("POST", "/api/upload_user_image/", files=files, data=sent)
    page = sign_in(visit())
    expect(page.get_by_role("heading", name="Today")).to_be_visible()
    for path, picture in (
        (f"/admin/images?username={customer.name}", page.get_by_role("img", name=sent["caption"])),
        ("/admin/orders", page.get_by_role("link", name=customer.name).locator("img")),
        (f"/admin/orders/{order_id}", page.get_by_role("img", name="Photo photo-0.jpg")),
    ):
        with held(page, re.compile(r"/media/|signature=")) as waiting:
            page.goto(customer.gateway + path, wait_until="domcontentloaded")
            expect(picture).to_have_css("background-image", BLURRED)
            page.wait_for_timeout(500)
            assert waiting, path
        expect(picture).to_have_css("background-image", "none")


def test_a_payment_that_needs_review_is_decided(visit: Callable[..., Visitor], customer: Customer) -> None:
    session = customer.ask("POST", "/api/checkout/embedded-session", json={})["session_id"]
    # What is paid is not what the catalogue asks for.
    books = customer.stack.folder / "var/stripe-sandbox/sandbox.sqlite3"
    with closing(sqlite3.connect(books, timeout=20)) as connection, connection:
        connection.execute("UPDATE objects SET body = json_set(body, '$.amount_total', 2) WHERE id = ?", (session,))
    customer.pay(session)
    customer.ask("GET", "/api/checkout/session-status", params={"session_id": session})
    page = sign_in(visit(), path="/admin/payments?state=needs_review")
    row = page.get_by_role("row").filter(has_text=session)
    button(row, "Give back").click()
    page.get_by_role("dialog").get_by_label("Note").fill("Paid too little")
    yes(page, "Give back")
    expect(status_of(page)).to_contain_text("Decided")
    page.goto(f"{customer.gateway}/admin/payments?session_id={session}")
    expect(page.get_by_text(f"refund by {OWNER}")).to_contain_text("Paid too little")


def test_a_move_is_sent_when_the_page_is_loaded_again_before_its_time(
    visit: Callable[..., Visitor], customer: Customer, tmp_path: Path
) -> None:
    order_id = customer.order("Rex", photo_file(tmp_path))
    page = sign_in(visit(), path=f"/admin/orders/{order_id}")
    button(page, "Mark as in_production").click()
    page.reload()
    expect(button(page, "Mark as shipped")).to_be_visible()
    button(page, "Mark as shipped").click()
    button(page, "Undo").click()
    page.reload()
    expect(button(page, "Mark as shipped")).to_be_visible()
    assert customer.ask("GET", f"/api/images/orders/{order_id}")["order"]["status"] == "in_production"


def test_a_move_is_sent_before_signing_out(visit: Callable[..., Visitor], customer: Customer, tmp_path: Path) -> None:
    order_id = customer.order("Rex", photo_file(tmp_path))
    page = sign_in(visit(), path=f"/admin/orders/{order_id}")
    button(page, "Mark as in_production").click()
    button(page, "Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert customer.ask("GET", f"/api/images/orders/{order_id}")["order"]["status"] == "in_production"


def test_whoever_comes_too_often_is_let_in_after_the_wait(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.expect("429")
    page = sign_in(visitor)
    expect(page.get_by_role("heading", name="Today")).to_be_visible()
    refused = {"status": 429, "headers": {"Retry-After": "6"}, "json": {"detail": "Too many requests."}}
    page.route("**/api/auth/refresh", lambda route: route.fulfill(**refused), times=1)
    page.reload()
    expect(status_of(page)).to_contain_text("goes on by itself")
    expect(page.get_by_role("heading", name="Today")).to_be_visible()
    expect(status_of(page)).to_have_count(0)

    refused["headers"] = {"Retry-After": "600"}
    page.route("**/api/auth/refresh", lambda route: route.fulfill(**refused), times=1)
    page.reload()
    button(page, "Try again").click()
    expect(page.get_by_role("heading", name="Today")).to_be_visible()


def test_what_is_not_there_says_so_and_leads_on(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.expect("404")
    page = sign_in(visitor, path="/admin/nonsense")
    expect(page.get_by_role("heading", name="There is no such view")).to_be_visible()
    page.goto(f"{visitor.gateway}/admin/orders/{uuid4()}")
    expect(page.get_by_role("heading", name="There is no such order")).to_be_visible()
    page.get_by_role("link", name="Back to Orders").click()
    expect(page.get_by_role("heading", name="Orders", exact=True)).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog").get_by_text("next and previous order")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_role("button")).to_have_text(["Close"])


def test_four_photos_are_seen_side_by_side(visit: Callable[..., Visitor], customer: Customer, tmp_path: Path) -> None:
    order_id = customer.order("Rex", *(photo_file(tmp_path, seed) for seed in range(4)))
    page = sign_in(visit(viewport={"width": 1280, "height": 800}), path=f"/admin/orders/{order_id}")
    button(page, "Look closely").click()
    expect(page.get_by_role("dialog").get_by_role("img").nth(3)).to_be_in_viewport(ratio=1)


def test_the_payment_of_an_old_order_is_found(
    visit: Callable[..., Visitor], customer: Customer, tmp_path: Path
) -> None:
    order_id = customer.order("Rex", photo_file(tmp_path))
    customer.ask("POST", "/api/checkout/embedded-session", json={})
    page = visit().context.new_page()
    # Pages of one payment each: the order's is not on the first.
    page.route(
        "**/api/admin/payments?**", lambda route: route.continue_(url=route.request.url.replace("limit=100", "limit=1"))
    )
    page.goto(f"{customer.gateway}/admin/orders/{order_id}")
    page.get_by_label("Username").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    button(page, "Sign in").click()
    page.get_by_role("link", name="Refund, or more about it").click()
    expect(button(page.get_by_role("row"), "Refund")).to_be_visible()


def test_an_ordinary_user_sees_none_of_it(visit: Callable[..., Visitor], customer: Customer) -> None:
    page = sign_in(visit(), customer.name, "/admin/orders")
    expect(page.get_by_role("alert")).to_contain_text("role admin")
    expect(page.get_by_role("navigation", name="Dashboard")).to_be_hidden()
    expect(page.get_by_role("heading", name="Orders")).to_be_hidden()


def test_two_admins_at_once_see_each_others_moves_and_one_wins(
    visit: Callable[..., Visitor], customer: Customer, tmp_path: Path
) -> None:
    order_id = customer.order("Bello", photo_file(tmp_path))
    first, second = visit(), visit()
    second.expect("409")
    pages = [sign_in(visitor, path=f"/admin/orders/{order_id}") for visitor in (first, second)]
    for page in pages:
        button(page, "Mark as in_production").click()
    expect(status_of(pages[0])).to_contain_text("The order is in_production.")
    for page in pages:
        expect(button(page, "Mark as shipped")).to_be_visible()
    assert customer.ask("GET", f"/api/images/orders/{order_id}")["order"]["status"] == "in_production"


@pytest.mark.parametrize(
    "name", ["", "orders", "payments", "images", "users", "webhooks", "storage", "system", "order"]
)
def test_no_view_scrolls_sideways_or_has_a_barrier(
    visit: Callable[..., Visitor], customer: Customer, tmp_path: Path, axe: str, name: str, shop_stack: Stack
) -> None:
    order_id = customer.order("Averylongnamewithoutanyplacetobreakit" * 2, photo_file(tmp_path))
    visitor = visit(bypass_csp=True, reduced_motion="reduce")
    page = sign_in(visitor, path=f"/admin/orders/{order_id}" if name == "order" else f"/admin/{name}".rstrip("/"))
    expect(page.get_by_role("heading", level=1).last).to_be_visible()
    page.wait_for_load_state("networkidle") if name != "order" else page.wait_for_timeout(1000)
    page.evaluate(axe)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, width
            if width in {360, 1440}:
                found = page.evaluate(LOOK)["violations"]
                assert [(each["id"], each["help"], [node["html"] for node in each["nodes"]]) for each in found] == []
