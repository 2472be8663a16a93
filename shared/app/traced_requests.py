"""Tracing what a process is asked: its tracer, where the settings ask for one, and the middleware that begins the spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Middleware

from shared.app.middleware import KNOWN_METHODS, route_name
from shared.app.routes import Handler
from shared.auth.key_derivation import derive_key
from shared.http.clients import PEER, is_in
from shared.log import current_trace_id
from shared.settings import Networks, ServerSettings, TokenSettings
from shared.tracing import recording

if TYPE_CHECKING:
    from shared.tracing.export import Tracing

NOT_TRACED = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds by machines


def trace_requests(tracing: Tracing, trusted_proxies: Networks) -> Middleware:
    """Return the middleware around all others: a span for each request, named for its method and its route.

    A trace that a request is already a part of goes on only where one of ours says so, or a trusted proxy.
    """
    from shared.tracing.export import trace_id_of  # noqa: PLC0415 - only where traces are recorded

    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        current_trace_id.set("")
        route = route_name(request)
        if route.rstrip("/") in NOT_TRACED:
            return await handler(request)
        given = None
        if parents := request.headers.getall("traceparent", ()):
            trusted = is_in(request[PEER], trusted_proxies)
            given = tracing.given(parents, request.headers.getall("tracestate", ()), trusted=trusted)
        method = request.method if request.method in KNOWN_METHODS else "_OTHER"
        attributes = {"http.request.method": method, "http.route": route}
        with recording(tracing, tracing.begin(f"{method} {route}", given, attributes)) as span:
            current_trace_id.set(trace_id_of(span))
            response = await handler(request)
            tracing.answered(span, response.status)
        return response

    return traced


@contextmanager
def request_tracing(name: str, settings: ServerSettings) -> Iterator[tuple[Middleware, ...]]:
    """Open the tracer that the settings ask for, and give the middleware that uses it; without one there is none."""
    if not isinstance(settings, TokenSettings) or not settings.otel_exporter_otlp_endpoint:
        yield ()
        return
    from shared.tracing.export import open_tracing  # noqa: PLC0415 - an extra

    key = derive_key(settings.internal_secret, "traces")
    endpoint, ratio = settings.otel_exporter_otlp_endpoint, settings.otel_traces_sampler_arg
    with open_tracing(name, endpoint, ratio, key) as tracing:
        yield (trace_requests(tracing, settings.trusted_proxies),)
