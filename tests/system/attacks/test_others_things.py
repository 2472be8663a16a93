"""Nobody reaches what is somebody else's: organisations, sessions, accounts."""

from __future__ import annotations

import secrets
from typing import Any

import aiohttp
import pytest

from tests.support.stack import Stack
from tests.system.attacks.conftest import Person, sign_up

ORGANIZATIONS = "/api/v1/organizations"
NOBODYS = "00000000-0000-4000-8000-000000000000"
DOORS = ("gateway", "auth-verify")

Reply = tuple[int, dict[str, Any]]


async def call(http: aiohttp.ClientSession, who: Person | None, method: str, url: str, **options: Any) -> Reply:
    """Return the status and the body, without what is different in each answer."""
    headers = who.headers if who else {}
    async with http.request(method, url, headers=headers, allow_redirects=False, **options) as answer:
        if answer.content_type not in {"application/json", "application/problem+json"}:
            return answer.status, {}
        body = await answer.json()
        body.pop("request_id", None)
        return answer.status, body


@pytest.fixture(scope="session")
def member(site: Stack) -> Person:
    return sign_up(site)


@pytest.fixture
async def club(http: aiohttp.ClientSession, site: Stack, alice: Person, member: Person) -> str:
    """Alice's organisation, with one ordinary member: its path."""
    door = site.url("gateway")
    status, made = await call(http, alice, "POST", door + ORGANIZATIONS, json={"name": "Club"})
    assert status == 201
    path = f"{ORGANIZATIONS}/{made['id']}"
    status, _ = await call(http, alice, "POST", f"{door}{path}/members", json={"user_id": member.id, "role": "member"})
    assert status == 201
    return path


def trespasses(path: str, alice: Person, mallory: Person) -> dict[str, tuple[str, str, dict[str, Any]]]:
    members = f"{path}/members"
    return {
        "read it": ("GET", path, {}),
        "list its members": ("GET", members, {}),
        "join": ("POST", members, {"json": {"user_id": mallory.id, "role": "member"}}),
        "join as owner": ("POST", members, {"json": {"user_id": mallory.id, "role": "owner"}}),
        "join by name": ("POST", members, {"json": {"username": mallory.username, "role": "admin"}}),
        "add somebody who is not there": ("POST", members, {"json": {"username": "nobody-at-all", "role": "member"}}),
        "promote oneself": ("PATCH", f"{members}/{mallory.id}", {"json": {"role": "owner"}}),
        "demote its owner": ("PATCH", f"{members}/{alice.id}", {"json": {"role": "member"}}),
        "remove its owner": ("DELETE", f"{members}/{alice.id}", {}),
        "remove oneself": ("DELETE", f"{members}/{mallory.id}", {}),
    }


TRESPASSES = list(trespasses("", Person("", "", "", "", ""), Person("", "", "", "", "")))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", TRESPASSES)
async def test_a_strangers_organisation_looks_like_none(
    http: aiohttp.ClientSession, site: Stack, club: str, alice: Person, *, mallory: Person, name: str, door: str
) -> None:
    replies = []
    for path in (club, f"{ORGANIZATIONS}/{NOBODYS}"):
        method, target, options = trespasses(path, alice, mallory)[name]
        replies.append(await call(http, mallory, method, site.url(door) + target, **options))
    assert replies[0][0] == 404
    assert replies[0] == replies[1]


@pytest.mark.parametrize(
    "name", [name for name in TRESPASSES if name not in {"read it", "list its members", "remove oneself"}]
)
async def test_a_member_manages_nothing(
    http: aiohttp.ClientSession, site: Stack, club: str, alice: Person, *, member: Person, name: str
) -> None:
    method, target, options = trespasses(club, alice, member)[name]
    status, _ = await call(http, member, method, site.url("gateway") + target, **options)
    assert status in {403, 404, 409}
    _, found = await call(http, alice, "GET", f"{site.url('gateway')}{club}/members")
    assert {one["user_id"]: one["role"] for one in found["members"]} == {alice.id: "owner", member.id: "member"}


ODD_IDS = (
    "..", "%2e%2e", "*", "null", "undefined", "0", "-1", "' OR '1'='1", "{id}%00", "{id}%20", "{id}.json", "{id}'", "{id}{id}",
    "%7B{id}%7D", "{ID}x", "{bare}",
)  # fmt: skip


@pytest.mark.parametrize("odd", ODD_IDS)
async def test_an_id_that_is_none_is_nobodys(
    http: aiohttp.ClientSession, site: Stack, club: str, alice: Person, *, mallory: Person, odd: str
) -> None:
    """Also for its owner: an id has one spelling."""
    real = club.rpartition("/")[2]
    odd_id = odd.replace("{id}", real).replace("{ID}", real.upper()).replace("{bare}", real.replace("-", ""))
    for who in (alice, mallory):
        for door in DOORS:
            status, _ = await call(http, who, "GET", f"{site.url(door)}{ORGANIZATIONS}/{odd_id}/members")
            assert status in {400, 404}


ADDITIONS: list[dict[str, Any]] = [
    {"roles": ["admin"]}, {"role": "admin"}, {"is_admin": True}, {"admin": True}, {"id": NOBODYS}, {"sub": NOBODYS},
    {"is_staff": True, "is_superuser": True}, {"verified": True}, {"created_at": "2000-01-01T00:00:00Z"},
    {"__proto__": {"roles": ["admin"]}}, {"user": {"roles": ["admin"]}}, {"roles[]": "admin"}, {"password_hash": "x"},
]  # fmt: skip


@pytest.mark.parametrize("addition", ADDITIONS, ids=str)
async def test_nobody_registers_as_more_than_a_user(
    http: aiohttp.ClientSession, site: Stack, addition: dict[str, Any]
) -> None:
    door, name = site.url("gateway"), f"climber-{secrets.token_hex(6)}"
    account = {"username": name, "email": f"{name}@shop.example", "password": "correct horse battery"}
    status, made = await call(http, None, "POST", f"{door}/api/auth/register", json={**account, **addition})
    if status == 201:
        assert made["roles"] == []
        assert made["id"] != NOBODYS
        assert not made["created_at"].startswith("2000")
        _, tokens = await call(http, None, "POST", f"{door}/api/auth/login", json={**account, **addition})
        person = Person(made["id"], name, "", tokens["access_token"], "")
        refund = {"session_id": "cs_test_a1"}
        assert (await call(http, person, "POST", f"{door}/api/checkout/refunds", json=refund))[0] == 403
    else:
        assert status == 422


@pytest.mark.parametrize("key", ["username", "email"])
@pytest.mark.parametrize("spelling", ["{}", "{upper}", "{title}", " {}", "{} ", "{}\u200b", "{}\u0000", "{wide}"])
async def test_nobody_registers_as_somebody_else(
    http: aiohttp.ClientSession, site: Stack, alice: Person, key: str, spelling: str
) -> None:
    """Taken, or refused: a name that only looks different is the same."""
    own = {"username": alice.username, "email": f"{alice.username}@shop.example"}[key]
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in own)
    name = f"twin-{secrets.token_hex(6)}"
    account = {"username": name, "email": f"{name}@shop.example", "password": "correct horse battery"}
    account[key] = spelling.format(own, upper=own.upper(), title=own.title(), wide=wide)
    status, _ = await call(http, None, "POST", f"{site.url('gateway')}/api/auth/register", json=account)
    assert status in {409, 422}


async def test_a_session_ends_for_its_tokens_everywhere(http: aiohttp.ClientSession, site: Stack) -> None:
    person = sign_up(site)
    again = sign_up(site)
    door = site.url("gateway")
    assert (await call(http, again, "POST", f"{door}/api/auth/logout", json={"refresh_token": person.refresh_token}))[
        0
    ] == 204
    for process, method, path in (
        ("gateway", "GET", "/api/auth/me"), ("auth-verify", "GET", "/api/auth/verify"),
        ("gateway", "GET", ORGANIZATIONS), ("checkout", "POST", "/api/checkout/refunds"),
    ):  # fmt: skip
        assert (await call(http, person, method, site.url(process) + path))[0] == 401
    body = {"refresh_token": person.refresh_token}
    assert (await call(http, None, "POST", f"{door}/api/auth/refresh", json=body))[0] == 401
    assert (await call(http, again, "GET", f"{door}/api/auth/me"))[0] == 200


REFRESH_TOKENS = (
    "",
    "x",
    "null",
    "0" * 43,
    "A" * 4096,
    "' OR 1=1 --",
    "\u0000",
    "\ud800",
    "{access}",
    "{flipped}",
    "{cut}",
    "{twice}",
)


@pytest.mark.parametrize("given", REFRESH_TOKENS)
async def test_no_made_up_refresh_token_opens_a_session(
    http: aiohttp.ClientSession, site: Stack, alice: Person, given: str
) -> None:
    real = alice.refresh_token
    flipped = real[:-1] + ("A" if real[-1] != "A" else "B")
    token = given.replace("{access}", alice.access_token).replace("{flipped}", flipped)
    token = token.replace("{cut}", real[:-1]).replace("{twice}", real + real)
    for path, allowed in (("refresh", {400, 401, 422}), ("logout", {204, 400, 401, 422})):
        status, body = await call(
            http, None, "POST", f"{site.url('gateway')}/api/auth/{path}", json={"refresh_token": token}
        )
        assert status in allowed
        assert "access_token" not in body
    assert (await call(http, alice, "GET", f"{site.url('gateway')}/api/auth/me"))[0] == 200


async def test_a_wrong_name_and_a_wrong_password_look_the_same(
    http: aiohttp.ClientSession, site: Stack, mallory: Person
) -> None:
    url = f"{site.url('gateway')}/api/auth/login"
    wrong = [
        {"username": mallory.username, "password": "wrong horse battery"},
        {"username": "nobody-at-all", "password": "wrong horse battery"},
        {"email": "nobody@shop.example", "password": "wrong horse battery"},
        {"username": mallory.username, "password": "x"},
        {"username": mallory.username, "password": mallory.password.upper()},
        {"username": "' OR 1=1 --", "password": "wrong horse battery"},
    ]
    replies = [await call(http, None, "POST", url, json=body) for body in wrong]
    assert [status for status, _ in replies] == [401] * len(wrong)
    assert all(reply == replies[0] for reply in replies)


LOGINS: list[Any] = [
    {"username": {"$ne": ""}, "password": {"$ne": ""}}, {"username": ["{name}"], "password": ["x"]}, {"username": True},
    {"username": "{name}", "password": None}, {"username": "{name}", "password": True}, {"username": "{name}", "password": []},
    {"username": "{name}", "password": 0}, {"username": "{name}"}, {"password": "x"}, [], "x", 1, None, {},
    {"username": "{name}", "password": "x" * 60_000}, {"username": "x" * 60_000, "password": "x"},
    {"username": "a\u0000b", "password": "x"}, {"username": "\ud800", "password": "\udfff"},
]  # fmt: skip


@pytest.mark.parametrize("body", LOGINS, ids=lambda body: str(body)[:60].encode("ascii", "replace").decode())
async def test_no_shape_of_a_login_opens_a_session(
    http: aiohttp.ClientSession, site: Stack, alice: Person, body: Any
) -> None:
    if isinstance(body, dict) and body.get("username") == "{name}":
        body = {**body, "username": alice.username}
    for door in DOORS:
        status, answer = await call(http, None, "POST", f"{site.url(door)}/api/auth/login", json=body)
        assert status in {400, 401, 413, 422}
        assert "access_token" not in answer
