"""With public keys, nothing that everybody knows makes a token: the keys that are published verify, and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.stack import Stack, running_stack
from tests.system.attacks.conftest import sign_up
from tests.system.attacks.forgeries import NOW, SOON, b64, signed


class Keys:
    """What the public knows of a site that signs with EdDSA, and a victim's token."""

    def __init__(self, stack: Stack, published: list[dict[str, Any]]) -> None:
        victim = sign_up(stack)
        self.token = victim.access_token
        self.header = jwt.get_unverified_header(self.token)
        self.claims = {**jwt.decode(self.token, options={"verify_signature": False}), "roles": ["admin"], "exp": SOON}
        self.secret = stack.settings["JWT_SECRET_KEY"]
        self.jwk = next(key for key in published if key["kid"] == self.header["kid"])
        self.other_kids = [key["kid"] for key in published if key["kid"] != self.header["kid"]]
        self.key = jwt.PyJWK(self.jwk).key
        self.evil = ed25519.Ed25519PrivateKey.generate()

    def as_secret(self, secret: str | bytes) -> str:
        return signed({"alg": "HS256", "typ": "JWT", "kid": self.header["kid"]}, self.claims, secret)

    def by_evil(self, **header: object) -> str:
        return jwt.encode(self.claims, self.evil, "EdDSA", headers={"kid": self.header["kid"], **header})

    def evil_jwk(self) -> dict[str, str]:
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(self.evil.public_key().public_bytes_raw()), "kid": "evil"}


FORGERIES: dict[str, Callable[[Keys], str]] = {
    "the public key as PEM for a secret": lambda keys: keys.as_secret(
        keys.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "the public key as DER for a secret": lambda keys: keys.as_secret(
        keys.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ),
    "the public key's bytes for a secret": lambda keys: keys.as_secret(keys.key.public_bytes_raw()),
    "the public key's x for a secret": lambda keys: keys.as_secret(keys.jwk["x"]),
    "the JWK for a secret": lambda keys: keys.as_secret(json.dumps(keys.jwk)),
    "the kid for a secret": lambda keys: keys.as_secret(keys.jwk["kid"]),
    "the users' secret": lambda keys: keys.as_secret(keys.secret),
    "an empty secret": lambda keys: keys.as_secret(""),
    "a key of one's own under the right kid": lambda keys: keys.by_evil(),
    "a key of one's own under the next kid": lambda keys: keys.by_evil(kid=keys.other_kids[0]),
    "a key of one's own in the header": lambda keys: keys.by_evil(jwk=keys.evil_jwk()),
    "an unknown kid": lambda keys: keys.by_evil(kid="evil"),
    "no kid": lambda keys: jwt.encode(keys.claims, keys.evil, "EdDSA"),
    "an empty kid": lambda keys: keys.by_evil(kid=""),
    "a kid that is an address": lambda keys: keys.by_evil(kid="http://127.0.0.1:9/key"),
    "a kid that is a path": lambda keys: keys.by_evil(kid="../../../../dev/null"),
    "ES256 under the right kid": lambda keys: jwt.encode(
        keys.claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": keys.header["kid"]}
    ),
    "RS256 under the right kid": lambda keys: jwt.encode(
        keys.claims, rsa.generate_private_key(65537, 2048), "RS256", headers={"kid": keys.header["kid"]}
    ),
    "alg none": lambda keys: f"{b64(json.dumps({**keys.header, 'alg': 'none'}))}.{keys.token.split('.')[1]}.",
    "alg Ed25519": lambda keys: f"{b64(json.dumps({**keys.header, 'alg': 'Ed25519'}))}.{keys.token.split('.', 1)[1]}",
    "a signature of zeros": lambda keys: f"{keys.token.rpartition('.')[0]}.{b64(bytes(64))}",
    "a signature of the identity": lambda keys: f"{keys.token.rpartition('.')[0]}.{b64(bytes([1, *bytes(63)]))}",
    "other claims under the same signature": lambda keys: ".".join(
        [keys.token.split(".")[0], b64(json.dumps(keys.claims)), keys.token.split(".")[2]]
    ),
    "no signature": lambda keys: f"{keys.token.rpartition('.')[0]}.",
}


@pytest.fixture(scope="module")
def keyed_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("keyed")
    with running_stack(folder, {"JWT_ALGORITHM": "EdDSA"}, "auth-verify", "gateway") as stack:
        yield stack


@pytest.fixture
async def keys(keyed_site: Stack, http: aiohttp.ClientSession, cache: dict[str, Keys]) -> Keys:
    if "keys" not in cache:
        async with http.get(f"{keyed_site.url('gateway')}/.well-known/jwks.json") as answer:
            cache["keys"] = Keys(keyed_site, (await answer.json())["keys"])
    return cache["keys"]


@pytest.fixture(scope="module")
def cache() -> dict[str, Keys]:
    return {}


@pytest.fixture
async def trap() -> AsyncIterator[tuple[str, list[int]]]:
    """An address that nobody should ask, and who did."""
    visits: list[int] = []

    async def visited(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(1)
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json", visits


async def status(http: aiohttp.ClientSession, url: str, token: str) -> int:
    async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        return answer.status


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_what_is_published_makes_no_token(
    http: aiohttp.ClientSession, keyed_site: Stack, keys: Keys, forgery: str
) -> None:
    for process in ("gateway", "auth-verify"):
        assert await status(http, f"{keyed_site.url(process)}/api/auth/me", FORGERIES[forgery](keys)) == 401
        assert await status(http, f"{keyed_site.url(process)}/api/auth/me", keys.token) == 200


@pytest.mark.parametrize("header", ["jku", "x5u"])
async def test_an_address_in_a_header_is_never_asked(
    http: aiohttp.ClientSession, keyed_site: Stack, keys: Keys, trap: tuple[str, list[int]], header: str
) -> None:
    url, visits = trap
    for process in ("gateway", "auth-verify"):
        token = keys.by_evil(kid="evil", **{header: url})
        assert await status(http, f"{keyed_site.url(process)}/api/auth/me", token) == 401
    assert visits == []


async def test_private_keys_are_not_published(http: aiohttp.ClientSession, keyed_site: Stack) -> None:
    for process in ("gateway", "auth-verify"):
        async with http.get(f"{keyed_site.url(process)}/.well-known/jwks.json") as answer:
            published = (await answer.json())["keys"]
    assert len(published) >= 2
    for key in published:
        assert key.keys().isdisjoint({"d", "p", "q", "dp", "dq", "qi", "k"})


async def test_strange_kids_by_the_hundred_do_not_reach_auth_verify_each(
    http: aiohttp.ClientSession, keyed_site: Stack, keys: Keys
) -> None:
    """Else one request to the gateway would be one to auth-verify as well."""
    url = f"{keyed_site.url('auth-verify')}/metrics"

    async def fetched() -> float:
        async with http.get(url) as answer:
            lines = [line for line in (await answer.text()).splitlines() if "jwks.json" in line and "_total" in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = await fetched()
    tokens = [keys.by_evil(kid=f"evil-{number}-{NOW}") for number in range(200)]
    answers = await asyncio.gather(
        *(status(http, f"{keyed_site.url('gateway')}/api/auth/me", token) for token in tokens)
    )
    assert set(answers) == {401}
    assert await fetched() - before <= 5
