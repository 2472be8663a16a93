"""The gateway's composition root: what it opens, and the app whose routes are the table's routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web
from prometheus_async.aio.web import server_stats

from gateway.admission import CLIENTS, LIMITS, Clients, check_path
from gateway.forward import forwarder
from gateway.health import HEALTH, Health, health, ready
from gateway.one_time_delivery import LAST_SETTLE_S, SETTLEMENTS
from gateway.openapi import WHOLE_API, WholeApi, openapi
from gateway.pages import client_routes, page_routes
from gateway.rate_limits import open_limits
from gateway.route_table import build_table
from gateway.settings import GatewaySettings
from gateway.upstream.exchange import Pool
from shared.app.builtin_endpoints import index_of
from shared.app.factory import base_app
from shared.app.routes import Handler, Route, ServiceInfo
from shared.auth.access_tokens import VERIFIER
from shared.auth.jwks import open_verifier
from shared.auth.signed_links import SIGNED_LINKS, SignedLinks
from shared.concurrency.background_tasks import BackgroundTasks
from shared.errors import NotFound
from shared.http.clients import CONNECTION_LIMITER, ConnectionLimiter, client_address, is_in

INFO = ServiceInfo(
    name="gateway",
    title="Keepsake",
    description="Images that survive checkout: one door to every service",
)


def _metrics(settings: GatewaySettings) -> Handler:
    async def metrics(request: web.Request) -> web.StreamResponse:
        if not is_in(client_address(request, settings.trusted_proxies), settings.metrics_allow):
            raise NotFound("There is nothing at this path.")
        page: web.StreamResponse = await server_stats(request)
        return page

    return metrics


def create_app(settings: GatewaySettings) -> web.Application:
    """Build the gateway; it opens its pools, limits and verifier when it starts."""
    table = build_table(settings)
    pools = {service: Pool(service, urls) for service, urls in settings.addresses().items()}
    routes = (
        *(
            Route(
                method=route.method,
                path=route.path,
                handler=forwarder(route, pools[route.service]),
                summary=f"Answered by {route.service}",
            )
            for route in table
        ),
        Route(method="GET", path="/health", handler=health, summary="Alive, with the state of each service"),
        Route(method="GET", path="/ready", handler=ready, summary="Ready while any service answers"),
        Route(method="GET", path="/metrics", handler=_metrics(settings), summary="Prometheus metrics"),
        Route(method="GET", path="/openapi.json", handler=openapi, summary="The whole API, OpenAPI 3.1"),
    )
    routes += client_routes()
    routes += page_routes(settings, INFO, index_of(INFO, routes))
    app = base_app(INFO, settings, routes)
    app.middlewares.append(check_path)
    app[SIGNED_LINKS] = SignedLinks(settings.internal_secret, settings.public_url)
    app[CLIENTS] = Clients(settings.trusted_proxies, settings.internal_secret)
    app[CONNECTION_LIMITER] = ConnectionLimiter(settings.trusted_proxies)
    app[SETTLEMENTS] = BackgroundTasks()
    app[HEALTH] = Health(pools)
    app[WHOLE_API] = WholeApi(INFO, settings.public_url, table, pools)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pool in pools.values():
                stack.callback(pool.close)
            stack.push_async_callback(app[SETTLEMENTS].finish, LAST_SETTLE_S)
            app[LIMITS] = await stack.enter_async_context(open_limits(settings))
            app[VERIFIER] = await stack.enter_async_context(open_verifier(settings, settings.redis_url))
            yield

    app.cleanup_ctx.append(resources)
    return app
