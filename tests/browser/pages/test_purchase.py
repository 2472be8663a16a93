"""The purchase, from the gateway's front page to the photo after the payment, and all that can come between."""

from __future__ import annotations

import base64
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.pages.conftest import Visit, Visitor, button, photo_file, status_of
from tests.support import pictures

SLOW_LINE = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 400_000,
    "uploadThroughput": 400_000,
}  # bytes a second
MEGAPIXELS_12 = (4000, 3000)


def upload(page: Page, photo: Path) -> None:
    page.get_by_label("Choose photo").set_input_files(photo)
    button(page, "Upload").click()
    expect(button(page, "Pay")).to_be_enabled()


def go_to_pay(page: Page) -> None:
    button(page, "Pay").click()
    page.wait_for_url("**/pay/cs_test_*")


def come_back(page: Page) -> None:
    button(page, "Pay").click()
    page.wait_for_url("**/hero-me?session_id=*")


def shown_bytes(page: Page) -> bytes:
    """Return the bytes of the photo that the page has got."""
    expect_photo(page)
    return base64.b64decode(page.evaluate("shown.bytes().then((bytes) => bytes.toBase64())"))


def expect_photo(page: Page) -> None:
    shown = page.get_by_role("img", name="The photo you bought")
    expect(shown).to_be_visible()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_a_picture_is_bought_with_the_mouse_alone(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    page.goto(visitor.gateway)
    page.get_by_role("link", name="Buy a picture").click()
    button(page, "Use a sample photo").click()
    button(page, "Upload").click()
    expect(status_of(page)).to_contain_text("uploaded")
    go_to_pay(page)
    come_back(page)
    expect_photo(page)
    expect(status_of(page)).to_contain_text("Paid")


def test_a_picture_is_bought_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit().open()

    def press(name: str) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == name:
                break
        page.keyboard.press("Enter")

    press("Use a sample photo")
    expect(button(page, "Upload")).to_be_enabled()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(button(page, "Pay")).to_be_enabled()
    press("Pay")
    page.wait_for_url("**/pay/*")
    press("Pay")
    page.wait_for_url("**/hero-me?*")
    expect_photo(page)


def test_the_very_bytes_come_back_once(visitor: Visitor, tmp_path: Path) -> None:
    visitor.expect("404")
    photo = photo_file(tmp_path)
    page = visitor.open()
    upload(page, photo)
    go_to_pay(page)
    come_back(page)
    assert shown_bytes(page) == photo.read_bytes()
    page.reload()
    expect(status_of(page)).to_have_text("Your photo was already handed out; here is your copy.")
    expect(page.get_by_role("alert")).to_be_empty()
    assert shown_bytes(page) == photo.read_bytes()


def test_whoever_goes_back_from_the_payment_can_go_on_where_they_were(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open()
    upload(page, photo_file(tmp_path))
    go_to_pay(page)
    first = page.url
    page.go_back()
    expect(page.get_by_role("img", name="The photo you chose")).to_be_visible()
    go_to_pay(page)
    assert page.url == first
    come_back(page)
    expect_photo(page)


def test_a_reload_in_the_middle_of_the_payment_changes_nothing(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open()
    upload(page, photo_file(tmp_path))
    page.reload()
    expect(page.get_by_role("img", name="The photo you chose")).to_be_visible()
    go_to_pay(page)
    page.reload()
    come_back(page)
    expect_photo(page)


def test_what_was_paid_is_not_paid_again(visitor: Visitor, tmp_path: Path) -> None:
    visitor.expect("409")
    visitor.expect("404")
    page = visitor.open()
    upload(page, photo_file(tmp_path))
    go_to_pay(page)
    paying = page.url
    come_back(page)
    expect_photo(page)
    page.goto(paying)
    expect(page.get_by_role("alert")).to_contain_text("paid already")
    page.get_by_role("link", name="Back to the shop").click()
    expect_photo(page)
    expect(status_of(page)).to_contain_text("here is your copy")


def test_a_declined_card_and_a_cancelled_payment_are_said_and_can_be_tried_again(
    visitor: Visitor, tmp_path: Path
) -> None:
    visitor.expect("402")
    page = visitor.open()
    upload(page, photo_file(tmp_path))
    go_to_pay(page)
    button(page, "Decline").click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    button(page, "Cancel").click()
    page.get_by_role("link", name="Back to the payment").click()
    come_back(page)
    expect_photo(page)


def test_the_shop_by_its_other_name_leads_to_the_origin_that_keepsake_knows(visit: Visit) -> None:
    visitor = visit()
    visitor.expect("a request to http://127.0.0.1")
    page = visitor.context.new_page()
    page.goto(visitor.shop.replace("localhost", "127.0.0.1") + "/pet-art?from=elsewhere")
    page.wait_for_url(f"{visitor.shop}/pet-art?from=elsewhere")


def test_a_payment_that_was_not_finished_is_said(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open()
    upload(page, photo_file(tmp_path))
    go_to_pay(page)
    page.goto(f"{visitor.shop}/hero-me?session_id={page.url.rpartition('/')[2]}")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was charged")
    page.get_by_role("link", name="Back to the shop").click()
    expect(button(page, "Pay")).to_be_enabled()


def test_two_tabs_buy_two_photos(visitor: Visitor, tmp_path: Path) -> None:
    photos = [photo_file(tmp_path, seed) for seed in (1, 2)]
    tabs = [visitor.open() for _ in photos]
    for page, photo in zip(tabs, photos, strict=True):
        upload(page, photo)
    for page in tabs:
        go_to_pay(page)
    for page, photo in zip(reversed(tabs), reversed(photos), strict=True):
        come_back(page)
        assert shown_bytes(page) == photo.read_bytes()


def test_what_is_no_picture_is_refused_with_the_servers_sentence(visitor: Visitor, tmp_path: Path) -> None:
    visitor.expect("415")
    text = tmp_path / "letter.jpg"
    text.write_text("Dear Sir or Madam")
    page = visitor.open()
    page.get_by_label("Choose photo").set_input_files(text)
    expect(page.get_by_text("letter.jpg", exact=True)).to_be_visible()
    expect(page.locator("#preview")).to_be_hidden()
    button(page, "Upload").click()
    expect(page.get_by_role("alert")).to_contain_text("JPEG")
    expect(page.locator("#progress")).to_be_hidden()
    expect(button(page, "Pay")).to_be_disabled()


def test_an_upload_outlives_a_broken_connection(visit: Visit, tmp_path: Path) -> None:
    visitor = visit("phone")
    visitor.expect("net::ERR_INTERNET_DISCONNECTED")
    page = visitor.open()
    page.get_by_label("Choose photo").set_input_files(photo_file(tmp_path))
    visitor.context.set_offline(True)
    button(page, "Upload").click()
    expect(page.get_by_text("no connection").first).to_be_visible()
    visitor.context.set_offline(False)
    expect(button(page, "Pay")).to_be_enabled()


def test_without_a_connection_it_says_so_and_can_be_tried_again(visit: Visit, tmp_path: Path) -> None:
    visitor = visit("phone")
    visitor.expect("net::ERR_INTERNET_DISCONNECTED")
    page = visitor.open()
    upload(page, photo_file(tmp_path))
    visitor.context.set_offline(True)
    button(page, "Pay").click()
    expect(page.get_by_role("alert")).to_contain_text("connection", timeout=60_000)
    visitor.context.set_offline(False)
    go_to_pay(page)


def test_twelve_megapixels_over_a_slow_line_show_their_progress(visit: Visit, tmp_path: Path) -> None:
    page = visit("phone").open()
    big = tmp_path / "big.jpg"
    big.write_bytes(pictures.saved(pictures.photo(*MEGAPIXELS_12), "JPEG", quality=98))
    assert 2 * 2**20 < big.stat().st_size < 5 * 2**20
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    devtools.send("Network.emulateNetworkConditions", SLOW_LINE)
    page.get_by_label("Choose photo").set_input_files(big)
    button(page, "Upload").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    bar = page.locator("#progress")  # by its role it is gone as soon as the upload is
    seen = [0.0]
    while seen[-1] < 1:
        seen.append(bar.evaluate("bar => bar.value"))
        page.wait_for_timeout(50)
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    expect(button(page, "Pay")).to_be_enabled(timeout=60_000)
    expect(bar).to_be_hidden()
