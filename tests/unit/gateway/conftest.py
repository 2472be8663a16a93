from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web

from gateway.app import create_app
from gateway.settings import GatewaySettings
from shared.http.body import read_bytes
from tests.support.secret_values import INTERNAL, USERS
from tests.support.serving import ServeApp

SERVICES = ("auth_service", "temp_image", "media_store", "checkout", "planter_orders")

OpenGateway = Callable[..., Awaitable[str]]


def token(sub: str = "alice", *, secret: str = USERS, **claims: Any) -> str:
    return jwt.encode({"sub": sub, "exp": 4102444800, "iss": "keepsake", "aud": "keepsake", **claims}, secret, "HS256")


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**claims)}"}


def dead_url() -> str:
    """An address that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def echo_app() -> web.Application:
    """A service that tells what reached it."""

    async def echo(request: web.Request) -> web.Response:
        body = await read_bytes(request, max_bytes=2**30)
        return web.json_response(
            {
                "method": request.method,
                "target": request.raw_path,
                "headers": [[name, value] for name, value in request.headers.items()],
                "body": body.decode("latin-1"),
            }
        )

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", echo)
    return app


@pytest.fixture
def open_gateway(serve_app: ServeApp, tmp_path: Path) -> OpenGateway:
    """A gateway before the services whose address is given; the others are down."""

    async def serve(**settings: Any) -> str:
        addresses = {f"{name}_url": (dead_url(),) for name in SERVICES}
        defaults: dict[str, Any] = {
            "jwt_secret_key": USERS,
            "internal_secret": INTERNAL,
            "data_dir": tmp_path,
            "rate_limit_default": "off",
            "rate_limit_login": "off",
            "rate_limit_store_image": "off",
            "redis_url": "",
        }
        built = GatewaySettings(_env_file=None, **{**defaults, **addresses, **settings})
        return await serve_app(create_app(built))

    return serve


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def gateway(open_gateway: OpenGateway, serve_app: ServeApp) -> str:
    """A gateway whose every service is an echo."""
    echo = await serve_app(echo_app())
    return await open_gateway(**{f"{name}_url": (echo,) for name in SERVICES})
