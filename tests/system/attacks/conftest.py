"""The stack that is attacked from outside, and who attacks it."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.stack import Stack


@dataclass(frozen=True)
class Person:
    """Somebody who signed in."""

    id: str
    username: str
    password: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


def post_json(url: str, body: object) -> dict[str, Any]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("POST", parts.path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    connection.close()
    assert answer.status < 300, found
    return found


def sign_up(stack: Stack, username: str = "") -> Person:
    """Register somebody new at the gateway, and sign in."""
    username = username or f"person-{secrets.token_hex(6)}"
    door = stack.url("gateway")
    password = secrets.token_urlsafe(16)
    account = {"username": username, "email": f"{username}@shop.example", "password": password}
    user = post_json(f"{door}/api/auth/register", account)
    tokens = post_json(f"{door}/api/auth/login", {"username": username, "password": password})
    return Person(user["id"], username, password, tokens["access_token"], tokens["refresh_token"])


@pytest.fixture(scope="session")
def site(stack: Stack) -> Stack:
    """What is attacked: the processes as they are deployed, on embedded defaults and without rate limits."""
    return stack


@pytest.fixture(scope="session")
def alice(site: Stack) -> Person:
    return sign_up(site)


@pytest.fixture(scope="session")
def mallory(site: Stack) -> Person:
    return sign_up(site)


@pytest.fixture(scope="session")
def data_dir(site: Stack) -> Path:
    return Path(site.settings["DATA_DIR"])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps no cookies and follows no redirects by itself where it is told so."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), max_line_size=2**16, max_field_size=2**16
    ) as session:
        yield session
