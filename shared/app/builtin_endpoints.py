"""What every process answers about itself: what it is, that it lives, that it is ready, and its API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from functools import cache

from aiohttp import web
from prometheus_async.aio.web import server_stats

from shared.app.middleware import CHECKS, LIFECYCLE, ReadinessCheck
from shared.app.openapi import describe
from shared.app.routes import Handler, Route, ServiceInfo
from shared.clock import rfc3339, utc_now
from shared.errors import DependencyDown, Unavailable

READY_TIMEOUT_S = 2.5


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy", "timestamp": rfc3339(utc_now())})


async def _run_check(name: str, check: ReadinessCheck) -> None:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await check()
    except Exception as error:
        raise DependencyDown(name) from error


async def _ready(request: web.Request) -> web.Response:
    if request.app[LIFECYCLE].stopping.is_set():
        raise Unavailable("The service is stopping.", code="service_stopping")
    checks = [asyncio.create_task(_run_check(name, check)) for name, check in request.app[CHECKS].items()]
    failures = [result for result in await asyncio.gather(*checks, return_exceptions=True) if result is not None]
    if failures:
        raise failures[0]
    return web.json_response({"status": "ready", "timestamp": rfc3339(utc_now())})


def index_of(info: ServiceInfo, routes: Iterable[Route]) -> Handler:
    """Return the handler that says what a process is and which paths it has."""
    endpoints = {
        f"{route.method} {re.sub(r':[^{}]+}', '}', route.path)}": route.summary
        for route in routes
        if not route.path.startswith("/internal/")
    }
    body = {
        "service": info.title or info.name,
        "version": info.version,
        "description": info.description,
        "endpoints": endpoints,
    }

    async def index(_request: web.Request) -> web.Response:
        return web.json_response(body)

    return index


def _openapi(info: ServiceInfo, routes: tuple[Route, ...], public_url: str) -> Handler:
    @cache
    def text() -> str:
        return json.dumps(describe(info, routes, public_url))

    async def openapi(_request: web.Request) -> web.Response:
        return web.json_response(text=text())

    return openapi


def builtin_endpoints(info: ServiceInfo, routes: tuple[Route, ...], public_url: str) -> tuple[Route, ...]:
    return (
        Route(method="GET", path="/", handler=index_of(info, routes), summary="What this service is"),
        Route(method="GET", path="/health", handler=_health, summary="Alive; asks nobody"),
        Route(method="GET", path="/ready", handler=_ready, summary="Ready; asks each dependency"),
        Route(method="GET", path="/metrics", handler=server_stats, summary="Prometheus metrics"),
        Route(
            method="GET",
            path="/openapi.json",
            handler=_openapi(info, routes, public_url),
            summary="This service's OpenAPI 3.1 document",
        ),
    )
