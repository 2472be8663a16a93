"""The shop with Stripe's own keys: its embedded form in the place of the sandbox's page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser.pages.conftest import Visit, button, photo_file
from tests.support.stack import DEMO_SHOP, Stack

SCRIPT = "https://js.stripe.com/dahlia/stripe.js"
# Says what it was given, as Stripe's own script says it to Stripe.
STAND_IN = """
window.Stripe = (key) => ({
  createEmbeddedCheckoutPage: async ({ fetchClientSecret }) => {
    const secret = await fetchClientSecret();
    return { mount: (place) => { place.textContent = `Stripe's form for ${secret}, opened with ${key}`; } };
  },
});
"""


@pytest.fixture
def stripe_shop(shop_stack: Stack) -> Iterator[str]:
    """The shop's server as it runs where Stripe's key is set."""
    kept = dict(shop_stack.settings)
    shop_stack.stop(DEMO_SHOP)
    shop_stack.settings["STRIPE_SECRET_KEY"] = "sk_test_1"
    shop_stack.start(DEMO_SHOP)
    try:
        yield shop_stack.settings["FRONTEND_URL"]
    finally:
        shop_stack.stop(DEMO_SHOP)
        shop_stack.settings = kept
        shop_stack.start(DEMO_SHOP)


def test_stripes_own_form_is_embedded(visit: Visit, stripe_shop: str, tmp_path: Path) -> None:
    visitor = visit()
    visitor.expect(f"a request to {SCRIPT}")
    session = {"client_secret": "cs_test_1_secret_1", "publishable_key": "pk_test_1", "pay_url": None}

    def embedded_session(route: Route) -> None:
        headers = {"Access-Control-Allow-Origin": stripe_shop, "Content-Type": "application/json"}
        route.fulfill(body=json.dumps(session), headers=headers)

    visitor.context.route(SCRIPT, lambda route: route.fulfill(body=STAND_IN, content_type="text/javascript"))
    page = visitor.open()
    page.get_by_label("Choose photo").set_input_files(photo_file(tmp_path))
    button(page, "Upload").click()
    expect(button(page, "Pay")).to_be_enabled()
    visitor.context.route("**/api/checkout/embedded-session", embedded_session)
    button(page, "Pay").click()
    expect(page.get_by_text("Stripe's form for cs_test_1_secret_1, opened with pk_test_1")).to_be_visible()
