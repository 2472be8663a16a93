"""The doctor's checks of Stripe: its key, its clock, and the webhooks that it sends."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
import stripe
from aiohttp import web

from services.checkout.service.webhooks import SESSION_EVENTS
from services.checkout.settings import CheckoutSettings
from stack.doctor import payments
from tests.support import secret_values
from tests.support.processes import free_port
from tests.support.serving import ServeApp
from tests.support.stripe_sandbox import Sandbox
from tests.unit.stack.doctor import found

SITE = "https://images.shop.example"
ENDPOINT = {"url": f"{SITE}/api/checkout/webhook", "status": "enabled", "enabled_events": ["*"]}


@dataclass
class Stripe:
    """A double that knows one key, and answers with the endpoints and the date that a test gives it."""

    endpoints: list[dict[str, Any]] = field(default_factory=lambda: [ENDPOINT])
    seconds_ahead: int = 0
    version: str = stripe.api_version
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=self.seconds_ahead), usegmt=True)
        keys = {"Bearer sk_live_known": 200, "Bearer sk_test_known": 200, "Bearer rk_live_restricted": 403}
        status = keys.get(request.headers["Authorization"], 401)
        if status == 200 and request.headers["Stripe-Version"] != self.version:
            status = 400
        return web.json_response({"data": self.endpoints}, status=status, headers={"Date": date})

    async def states(self, **changed: str) -> dict[str, str]:
        """Run the check; return the state of each thing it looked at."""
        said: dict[str, Any] = {
            "stripe_secret_key": "sk_live_known",
            "stripe_publishable_key": "pk_live_known",
            "stripe_webhook_secret": "whsec_x",
            "stripe_api_base": self.url,
            "public_url": SITE,
            "jwt_secret_key": secret_values.USERS,
            "internal_secret": secret_values.INTERNAL,
            **changed,
        }
        settings = CheckoutSettings(_env_file=None, **said)
        return {what: state for state, what in await found(partial(payments.check_stripe, settings, self.url))}


@pytest.fixture
async def account(serve_app: ServeApp) -> Stripe:
    double, app = Stripe(), web.Application()
    app.router.add_get("/v1/webhook_endpoints", double.answer)
    double.url = await serve_app(app)
    return double


class TestStripe:
    async def test_all_is_right_where_all_is(self, account: Stripe) -> None:
        right_ones = {"stripe key": "right", "clock": "right", "stripe webhooks": "right"}
        assert await account.states() == right_ones
        account.endpoints = [{**ENDPOINT, "enabled_events": sorted(SESSION_EVENTS | payments.OTHER_EVENTS)}]
        assert await account.states() == right_ones

    async def test_only_where_the_sandbox_answers_no_real_money_moves(self, account: Stripe, sandbox: Sandbox) -> None:
        keys, dead = {"stripe_secret_key": "sk_test_known"}, free_port()
        assert await account.states(**keys, stripe_api_base=sandbox.url) == {"stripe": "right"}
        not_started = {"stripe_api_base": f"http://localhost:{dead}", "stripe_sandbox_port": str(dead)}
        assert await account.states(**keys, **not_started) == {"stripe": "unknown"}
        for other in (f"http://127.0.0.1:{dead}", account.url + "/"):
            assert await account.states(**keys, stripe_api_base=f"{other}/v0") == {"stripe": "wrong"}
        assert await account.states(stripe_api_base=sandbox.url) == {"stripe": "wrong"}

    @pytest.mark.parametrize(
        "changed",
        [
            {"stripe_secret_key": "sk_live_other"},
            {"stripe_secret_key": "rk_live_restricted"},
            {"stripe_publishable_key": "pk_test_known"},
            {"stripe_secret_key": "sk_test_known"},
        ],
    )
    async def test_a_key_that_stripe_refuses_or_that_fits_no_other_is_wrong(
        self, account: Stripe, changed: dict[str, str]
    ) -> None:
        assert (await account.states(**changed))["stripe key"] == "wrong"

    async def test_a_test_key_is_wrong_in_production_alone(
        self, account: Stripe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = {"stripe_secret_key": "sk_test_known", "stripe_publishable_key": "pk_test_known"}
        assert (await account.states(**keys))["stripe key"] == "right"
        # Read, and not checked: production takes no address of this machine, where the double is.
        monkeypatch.setattr(CheckoutSettings, "problems", lambda _self: iter(()))
        assert (await account.states(environment="production", **keys))["stripe key"] == "wrong"

    async def test_an_api_version_that_stripe_does_not_know_is_wrong(self, account: Stripe) -> None:
        account.version = "2020-08-27"
        assert await account.states() == {"stripe key": "wrong", "clock": "right"}

    async def test_a_stripe_that_is_not_there_is_wrong(self, account: Stripe) -> None:
        account.url = f"http://127.0.0.1:{free_port()}"
        assert await account.states() == {"it": "wrong"}

    @pytest.mark.parametrize("seconds", [-400, 400])
    async def test_a_clock_that_is_off_is_wrong(self, account: Stripe, seconds: int) -> None:
        account.seconds_ahead = seconds
        assert (await account.states())["clock"] == "wrong"

    @pytest.mark.parametrize(
        "endpoints",
        [
            [],
            [{**ENDPOINT, "url": "https://elsewhere.example/api/checkout/webhook"}],
            [{**ENDPOINT, "status": "disabled"}],
            [{**ENDPOINT, "enabled_events": ["checkout.session.completed"]}],
        ],
    )
    async def test_an_endpoint_that_does_not_hear_of_payments_is_wrong(
        self, account: Stripe, endpoints: list[dict[str, Any]]
    ) -> None:
        account.endpoints = endpoints
        assert (await account.states())["stripe webhooks"] == "wrong"
