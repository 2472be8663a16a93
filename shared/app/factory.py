"""The application every service starts from: its table of routes and the common paths, the one middleware, and CORS."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp_cors
from aiohttp import web

from shared.app.builtin_endpoints import builtin_endpoints
from shared.app.middleware import (
    ALLOWED_HEADERS,
    CHECKS,
    EXPOSED_HEADERS,
    LIFECYCLE,
    ORIGINS,
    Lifecycle,
    answer,
    on_response_prepare,
)
from shared.app.routes import Handler, Route, ServiceInfo
from shared.auth.access import Access
from shared.auth.access_tokens import require_access
from shared.metrics import IN_FLIGHT
from shared.settings import ServerSettings


async def _leave_expectation(_request: web.Request) -> None:
    """Send no `100 Continue` yet: whoever reads the body sends it, so that a refusal can come first."""


def _spellings(path: str) -> Iterable[str]:
    """Return the path with and without its trailing slash; one that ends in a catch-all takes either by itself."""
    if path == "/" or path.endswith("+}"):
        return (path,)
    return (path.rstrip("/"), path.rstrip("/") + "/")


def _guarded(route: Route) -> Handler:
    if route.access is Access.PUBLIC and not route.by_link:
        return route.handler

    async def guarded(request: web.Request) -> web.StreamResponse:
        await require_access(request, route.access, by_link=route.by_link)
        return await route.handler(request)

    return guarded


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Register a table: both spellings of each path, `HEAD` wherever there is `GET`, access before the handler."""
    routes = tuple(routes)
    has_head = {route.path for route in routes if route.method == "HEAD"}
    resources: dict[str, web.Resource] = {}
    for route in routes:
        handler = _guarded(route)
        methods = (route.method, "HEAD") if route.method == "GET" and route.path not in has_head else (route.method,)
        for path in _spellings(route.path):
            resource = resources.get(path) or resources.setdefault(path, app.router.add_resource(path))
            for method in methods:
                resource.add_route(method, handler, expect_handler=_leave_expectation)


def _allow_origins(app: web.Application, origins: frozenset[str]) -> None:
    options = aiohttp_cors.ResourceOptions(
        expose_headers=EXPOSED_HEADERS, allow_headers=ALLOWED_HEADERS, allow_methods="*", max_age=600
    )
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, options))
    for route in list(app.router.routes()):
        cors.add(route)
    app.on_response_prepare.clear()  # preflights are aiohttp-cors's own; every other answer gets its headers below


def base_app(info: ServiceInfo, settings: ServerSettings, routes: Iterable[Route]) -> web.Application:
    """Build the app of a service: its table and the common paths, ready for its `cleanup_ctx`.

    A service adds its readiness checks to `app[CHECKS]` under the dependency's name when it opens it.
    """
    routes = tuple(routes)
    app = web.Application(middlewares=[answer], client_max_size=2**20)
    app[LIFECYCLE] = life = Lifecycle()
    IN_FLIGHT.set_function(lambda: life.in_flight)
    app[CHECKS] = {}
    app[ORIGINS] = frozenset(settings.cors_origins)
    taken = {route.path for route in routes}
    common = builtin_endpoints(info, routes, settings.public_url)
    add_routes(app, (*routes, *(route for route in common if route.path not in taken)))
    _allow_origins(app, app[ORIGINS])
    app.on_response_prepare.append(on_response_prepare)
    return app
