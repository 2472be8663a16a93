"""Puts the sandbox together: the store, the sender of webhooks, the API and the pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from shared.app.middleware import LIFECYCLE, Lifecycle
from shared.clock import rfc3339, utc_now
from shared.errors import RequestTimeout, TooLarge
from shared.http.body import BODY
from shared.log import get_logger
from stripe_sandbox.api import LEDGER, REQUEST_ID, Api, Interrupt, render_error
from stripe_sandbox.errors import StripeError
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.objects import make_id
from stripe_sandbox.pages import ROUTES, render_refusal
from stripe_sandbox.settings import SandboxSettings
from stripe_sandbox.store import Store
from stripe_sandbox.webhooks import Sender


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give each request its id, and say what went wrong in Stripe's format, or as a page."""
    request[REQUEST_ID] = make_id("req", 14)
    try:
        return await handler(request)
    except StripeError as refused:
        error = refused
    except TooLarge:
        error = StripeError("The request is too large.", status=413)
    except RequestTimeout:
        error = StripeError("The request's body cannot be read.")
    except ConnectionError:
        raise
    except web.HTTPException:
        error = StripeError(f"Unrecognized request URL ({request.method}: {request.path}).", status=404)
    except Exception:  # noqa: BLE001 - whatever it is, the caller gets Stripe's 500
        get_logger().exception("sandbox_request_failed", request_id=request[REQUEST_ID])
        error = StripeError("An unknown error occurred.", status=500, kind="api_error")
    finally:
        request[BODY].drop()
    if request.path.startswith("/v1/"):
        return render_error(error, request[REQUEST_ID])
    return render_refusal(str(error), error.status)


async def tell_health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy", "timestamp": rfc3339(utc_now())})


def create_app(
    settings: SandboxSettings,
    *,
    middlewares: Sequence[Middleware] = (),
    interrupt: Interrupt | None = None,
    now: Callable[[], float] = time.time,
) -> web.Application:
    """Build the sandbox.

    For tests: `middlewares` stand before everything (an answer that is lost, a 500 that nothing remembers);
    `interrupt` runs while an operation's idempotency key is taken, and what it returns is remembered as the answer;
    `now` is the clock in Unix seconds.
    """

    async def resources(app: web.Application) -> AsyncIterator[None]:
        store = Store(settings.data_dir / "stripe-sandbox" / "sandbox.sqlite3")
        ledger = app[LEDGER] = Ledger(store, now)
        async with aiohttp.ClientSession() as client:
            sender = asyncio.create_task(Sender(ledger, client, settings.webhook_url, settings.webhook_secret).run())
            yield
            sender.cancel()
            with suppress(asyncio.CancelledError):
                await sender
        store.close()

    app = web.Application(middlewares=[*middlewares, answer_errors])
    app[LIFECYCLE] = Lifecycle()
    app.cleanup_ctx.append(resources)
    app.router.add_routes([web.get("/health", tell_health), *ROUTES, *Api(interrupt).routes()])
    return app
