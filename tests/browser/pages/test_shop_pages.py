"""The shop's other pages: pet art, profiles, planters and events, each from its beginning to its end."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.pages.conftest import BLURRED, Visit, Visitor, button, held, photo_file, status_of
from tests.support import pictures
from tests.support.stack import Stack

PASSWORD = "correct horse battery"


def sign_in(page: Page, username: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    button(page, "Register").click()
    expect(status_of(page)).to_contain_text("Registered")
    button(page, "Sign in").click()
    expect(button(page, "Sign out")).to_be_visible()


def upload(page: Page, photo: Path, caption: str) -> None:
    page.get_by_label("Choose photo").set_input_files(photo)
    page.get_by_label("Caption").fill(caption)
    button(page, "Upload").click()
    expect(page.get_by_role("img", name=caption)).to_be_visible()


def test_pet_art_is_stored_at_addresses_that_stay(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open("/pet-art")
    page.get_by_label("Choose photo").set_input_files(photo_file(tmp_path))
    page.get_by_label("Effect").select_option("Sepia")
    button(page, "Store").click()
    expect(status_of(page)).to_contain_text("Stored")
    stored = page.get_by_role("region", name="Stored").get_by_role("listitem")
    expect(stored).to_have_text(["Original", "With sepia"])
    original, processed = (link.get_attribute("href") or "" for link in stored.get_by_role("link").all())
    assert requests.get(original, timeout=10).headers["Content-Type"] == "image/jpeg"
    assert "processed_sepia" in processed
    assert requests.get(processed, timeout=10).headers["Content-Type"] == "image/jpeg"


def test_a_profile_keeps_its_pictures_and_one_primary(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open("/profile")
    sign_in(page, f"sam-{uuid.uuid4().hex[:8]}")
    for seed, caption in enumerate(("On the beach", "<b>In the snow</b>")):
        upload(page, photo_file(tmp_path, seed), caption)
    beach = page.get_by_role("listitem").filter(has_text="On the beach")
    snow = page.get_by_role("listitem").filter(has_text="In the snow")
    button(beach, "Set as primary").click()
    expect(beach.get_by_text("Primary", exact=True)).to_be_visible()
    button(snow, "Set as primary").click()
    expect(snow.get_by_text("Primary", exact=True)).to_be_visible()
    expect(beach.get_by_text("Primary", exact=True)).to_be_hidden()
    page.reload()
    expect(snow.get_by_text("Primary", exact=True)).to_be_visible()
    button(snow, "Delete").click()
    expect(snow).to_have_count(0)
    expect(beach).to_be_visible()
    button(page, "Sign out").click()
    expect(button(page, "Register")).to_be_visible()
    page.reload()
    expect(button(page, "Register")).to_be_visible()


def test_a_signed_in_customer_may_open_more_pages_than_there_are_refreshes_in_a_minute(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("/profile")
    sign_in(page, f"sam-{uuid.uuid4().hex[:8]}")
    refreshes: list[str] = []
    page.on("request", lambda request: refreshes.append(request.url) if "auth/refresh" in request.url else None)
    for _ in range(12):
        page.reload()
        expect(button(page, "Sign out")).to_be_visible()
    assert refreshes == []


def test_whoever_registers_without_a_name_is_asked_for_it_and_the_email_may_be_left_empty(visit: Visit) -> None:
    page = visit().open("/profile")
    button(page, "Register").click()
    expect(page.get_by_role("alert")).to_have_text("Please choose a username.")
    expect(page.get_by_label("Username")).to_be_focused()
    sign_in(page, f"sam {uuid.uuid4().hex[:8]}")


def test_a_wrong_password_and_a_taken_name_are_said(visit: Visit) -> None:
    visitor = visit()
    for status in ("401", "409", "422"):
        visitor.expect(status)
    page = visitor.open("/profile")
    name = f"sam-{uuid.uuid4().hex[:8]}"
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill("short")
    button(page, "Register").click()
    expect(page.get_by_role("alert")).to_contain_text("12 characters")
    page.get_by_label("Password").fill(PASSWORD)
    button(page, "Register").click()
    expect(status_of(page)).to_contain_text("Registered")
    button(page, "Register").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    page.get_by_label("Password").fill("another password")
    button(page, "Sign in").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(button(page, "Sign out")).to_be_hidden()


def test_a_planter_of_four_photos_is_ordered_and_paid_with_the_mouse_alone(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    page.goto(visitor.gateway)
    page.get_by_role("link", name="Order a planter").click()
    for number in range(4):
        button(page, "Use a sample photo").click()
        expect(page.get_by_role("button", name="Leave out")).to_have_count(number + 1)
    button(page, "Place order").click()
    expect(status_of(page)).to_have_text("Status: Order placed")
    expect(page.get_by_role("heading", name="Your planter")).to_be_focused()
    expect(page.get_by_text("Order placed", exact=True)).to_be_in_viewport()
    expect(button(page, "Pay")).to_be_in_viewport()
    expect(page.get_by_text("Good photo")).to_have_count(4)
    button(page, "Pay").click()
    page.wait_for_url("**/pay/*")
    button(page, "Pay").click()
    page.wait_for_url("**/planter?order_id=*")
    expect(status_of(page)).to_have_text("Status: Paid")
    expect(page.get_by_text("Good photo")).to_have_count(4)


@pytest.fixture(scope="module")
def admin(shop_stack: Stack) -> dict[str, str]:
    """The headers of an administrator."""
    command = [
        sys.executable,
        "-m",
        "services.auth_verify",
        "create-admin",
        "--username",
        "boss",
        "--email",
        "boss@example.com",
    ]
    subprocess.run(
        command, input=f"{PASSWORD}\n", text=True, check=True, cwd=shop_stack.folder, env=shop_stack.environment()
    )
    user = {"username": "boss", "password": PASSWORD}
    answer = requests.post(f"{shop_stack.url('gateway')}/api/auth/login", json=user, timeout=10).json()
    return {"Authorization": f"Bearer {answer['access_token']}"}


def order_of(page: Page, *photos: Path) -> str:
    """Place an order, and return its id."""
    page.get_by_label("Choose photo").set_input_files(photos)
    button(page, "Place order").click()
    page.wait_for_url("**/planter?order_id=*")
    found = re.search(r"order_id=([^&]+)", page.url)
    assert found is not None
    return found[1]


def test_what_is_wrong_with_a_photo_is_said(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open("/planter")
    small = photo_file(tmp_path, 1, pictures.photo(500, 400, seed=1))
    soft = photo_file(tmp_path, 2, pictures.blurred(pictures.photo(seed=2), 6))
    twin = tmp_path / "twin.jpg"
    twin.write_bytes(pictures.saved(pictures.photo(seed=3), "JPEG", quality=70))
    order_of(page, small, soft, photo_file(tmp_path, 3), twin)
    expect(page.get_by_text("This photo is small")).to_have_count(1)
    expect(page.get_by_text("This photo is blurred")).to_have_count(1)
    expect(page.get_by_text("nearly the same")).to_have_count(2)


def test_the_status_changes_as_it_is_looked_at(visit: Visit, tmp_path: Path, admin: dict[str, str]) -> None:
    visitor = visit("phone")
    page = visitor.open("/planter")
    order_id = order_of(page, photo_file(tmp_path))
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    button(page, "Pay").click()
    page.wait_for_url("**/pay/*")
    button(page, "Pay").click()
    expect(status_of(page)).to_have_text("Status: Paid")
    for status, step in (("in_production", "In production"), ("shipped", "Shipped"), ("delivered", "Delivered")):
        address = f"{visitor.gateway}/api/admin/orders/{order_id}"
        assert requests.patch(address, json={"status": status}, headers=admin, timeout=10).status_code == 200
        expect(status_of(page)).to_have_text(f"Status: {step}")
        expect(page.locator("[aria-current=step]")).to_contain_text(step)


def test_another_photo_is_sent_when_the_shop_asks_for_it(
    visitor: Visitor, tmp_path: Path, admin: dict[str, str]
) -> None:
    page = visitor.open("/planter")
    order_id = order_of(page, photo_file(tmp_path, 1), photo_file(tmp_path, 2))
    expect(page.get_by_text("Good photo")).to_have_count(2)
    expect(page.get_by_label("Choose photo")).to_be_hidden()
    order = f"{visitor.gateway}/api/admin/orders/{order_id}"
    listed = requests.get(f"{visitor.gateway}/api/images/orders/{order_id}", headers=admin, timeout=10).json()
    asked = {"filename": listed["order"]["files"][0]["filename"], "reason": "blurred", "note": "From nearer, please."}
    assert requests.post(f"{order}/photo-requests", json=asked, headers=admin, timeout=10).status_code == 201
    request = page.get_by_role("listitem").filter(has_text="Please choose another photo")
    expect(request).to_contain_text("From nearer, please.")
    request.get_by_label("Choose photo").set_input_files(photo_file(tmp_path, 3))
    expect(status_of(page)).to_contain_text("the new photo is here")
    expect(request).to_have_count(0)
    expect(page.get_by_text("Good photo")).to_have_count(2)
    expect(page.get_by_role("img", name="photo-3.jpg")).to_be_visible()


def test_a_planter_has_room_for_four_photos(visit: Visit, tmp_path: Path) -> None:
    page = visit().open("/planter")
    page.get_by_label("Choose photo").set_input_files([photo_file(tmp_path, seed) for seed in range(5)])
    expect(page.get_by_role("alert")).to_contain_text("4 photos")
    expect(page.get_by_role("button", name="Leave out")).to_have_count(4)


def test_an_order_is_nobody_elses(visit: Visit, tmp_path: Path) -> None:
    page = visit().open("/planter")
    order_of(page, photo_file(tmp_path))
    expect(status_of(page)).to_have_text("Status: Order placed")
    stranger = visit()
    stranger.expect("404")
    other = stranger.context.new_page()
    other.goto(page.url)
    expect(other.get_by_text("Only the customer who placed this order can see it.")).to_be_visible()
    expect(other.get_by_text("Your planter")).to_be_hidden()
    expect(other.get_by_role("alert")).to_be_empty()
    other.get_by_role("link", name="sign in").click()
    other.get_by_label("Username").fill(f"sam-{uuid.uuid4().hex[:8]}")
    other.get_by_label("Password").fill(PASSWORD)
    button(other, "Register").click()
    expect(status_of(other)).to_contain_text("Registered")
    button(other, "Sign in").click()
    other.wait_for_url(page.url)
    expect(other.get_by_role("alert")).to_have_text("Order not found")
    expect(other.get_by_text("Your planter")).to_be_hidden()
    expect(other.get_by_role("img")).to_have_count(0)


def test_an_event_has_its_picture_uploaded_directly_and_published(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open("/event")
    page.get_by_label("Name").fill("Summer fair")
    button(page, "Create organisation").click()
    expect(page.get_by_text("A picture for Summer fair")).to_be_visible()
    photo = photo_file(tmp_path)
    page.get_by_label("Choose photo").set_input_files(photo)
    button(page, "Upload").click()
    expect(button(page, "Publish")).to_be_enabled()
    button(page, "Publish").click()
    expect(status_of(page)).to_contain_text("Published")
    published = page.get_by_role("link", name="/media/events/").get_attribute("href") or ""
    assert requests.get(published, timeout=10).headers["Content-Type"] == "image/jpeg"


def test_the_panel_shows_each_request_and_no_secret(visit: Visit) -> None:
    page = visit().open("/profile")
    sign_in(page, f"sam-{uuid.uuid4().hex[:8]}")
    panel = page.get_by_role("complementary", name="Requests of this page")
    login = panel.get_by_role("listitem").filter(has_text="/api/auth/login")
    expect(login).to_contain_text("200")
    login.get_by_text("/api/auth/login").click()
    expect(login).to_contain_text("access_token")
    assert PASSWORD not in login.inner_text()
    assert not re.search(r"eyJ", login.inner_text())


def test_a_placeholder_is_there_until_the_picture_is(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open("/profile")
    sign_in(page, f"sam-{uuid.uuid4().hex[:8]}")
    upload(page, photo_file(tmp_path), "On the beach")
    with held(page, "**/media/**") as waiting:
        page.reload(wait_until="domcontentloaded")
        picture = page.get_by_role("img", name="On the beach")
        expect(picture).to_have_css("background-image", BLURRED)
        assert waiting
    expect(picture).to_have_css("background-image", "none")

    page.goto(f"{visitor.shop}/event")
    button(page, "Create organisation").click()
    page.get_by_label("Choose photo").set_input_files(photo_file(tmp_path))
    button(page, "Upload").click()
    with held(page, "**/media/events/**"):
        button(page, "Publish").click()
        published = page.get_by_role("listitem").filter(has_text="Published").locator("img")
        expect(published).to_have_css("background-image", BLURRED)
    expect(published).to_have_css("background-image", "none")

    page.goto(f"{visitor.shop}/pet-art")
    page.get_by_label("Choose photo").set_input_files(photo_file(tmp_path))
    with held(page, "**/media/pet-images/**"):
        button(page, "Store").click()
        stored = page.get_by_role("region", name="Stored").locator("img")
        for index in range(2):
            expect(stored.nth(index)).to_have_css("background-image", BLURRED)
    expect(stored.first).to_have_css("background-image", "none")

    page.goto(f"{visitor.shop}/planter")
    with held(page, re.compile("size=thumb")):
        order_of(page, photo_file(tmp_path))
        photo = page.get_by_role("img", name="photo-0.jpg")
        expect(photo).to_have_attribute("src", re.compile("^data:image/bmp"))
        expect(page.get_by_text("Good photo")).to_be_visible()
    expect(photo).to_have_attribute("src", re.compile("^blob:"))


def test_a_photo_of_twelve_megabytes_is_sent_smaller_by_each_page(visit: Visit, tmp_path: Path) -> None:
    large = photo_file(tmp_path, picture=pictures.noise(4800, 3200))
    assert large.stat().st_size > 12 * 2**20
    visitor = visit()
    page = visitor.open("/profile")
    sign_in(page, f"sam-{uuid.uuid4().hex[:8]}")
    upload(page, large, "On the beach")
    for path, buttons, said in (
        ("/", ["Upload"], "is uploaded"),
        ("/pet-art", ["Store"], "Stored"),
        ("/event", ["Upload", "Publish"], "Published"),
        ("/planter", ["Place order"], "Status: Order placed"),
    ):
        page.goto(visitor.shop + path)
        if path == "/event":
            button(page, "Create organisation").click()
        choice = page.get_by_label("Choose photo")
        expect(choice).to_have_attribute("accept", "image/jpeg,image/png,image/webp")
        choice.set_input_files(large)
        for name in buttons:
            button(page, name).click()
        expect(status_of(page)).to_contain_text(said)
