from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from shared.auth.jwks import RemoteKeys, open_verifier
from shared.auth.service_client import open_http_client
from shared.errors import DependencyDown, Unauthorized
from shared.settings import TokenSettings
from tests.support.processes import free_port
from tests.support.serving import ServeApp, serving

PRIVATE = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()
CLAIMS = {"sub": "u1", "exp": 4_000_000_000, "iss": "keepsake", "aud": "keepsake"}


def jwk(private: ed25519.Ed25519PrivateKey, kid: str) -> dict[str, Any]:
    return {**OKPAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": kid, "alg": "EdDSA", "use": "sig"}


class Publisher:
    """Answers as auth-verify does, and counts how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.app = web.Application()
        self.app.router.add_get("/.well-known/jwks.json", self._answer)

    async def _answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": self.keys})


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(jwk(PRIVATE, "k1"), jwk(OTHER, "k2"))


@pytest.fixture
async def session() -> AsyncIterator[Any]:
    async with open_http_client() as opened:
        yield opened


def settings(url: str, tmp_path: Path, algorithm: str = "EdDSA") -> TokenSettings:
    return TokenSettings(
        _env_file=None,
        jwt_algorithm=algorithm,
        jwt_secret_key="s" * 32,
        internal_secret="i" * 32,
        auth_service_url=url,
        data_dir=tmp_path,
    )


class TestWithPublishedKeys:
    async def test_a_token_is_verified_with_the_key_it_names(
        self, publisher: Publisher, serve_app: ServeApp, tmp_path: Path
    ) -> None:
        url = await serve_app(publisher.app)
        async with open_verifier(settings(url, tmp_path), "") as verifier:
            token = jwt.encode(CLAIMS, PRIVATE, "EdDSA", {"kid": "k1"})
            assert (await verifier.verify(token)).user_id == "u1"
            for kid in ("k2", "k3", None):
                wrong = jwt.encode({**CLAIMS, "jti": str(kid)}, PRIVATE, "EdDSA", {"kid": kid} if kid else None)
                with pytest.raises(Unauthorized):
                    await verifier.verify(wrong)

    async def test_the_keys_are_fetched_once_for_many_callers(
        self, publisher: Publisher, serve_app: ServeApp, session: Any
    ) -> None:
        keys = RemoteKeys(session, [await serve_app(publisher.app)], "EdDSA")
        await asyncio.gather(*(keys.key_for("k1") for _ in range(50)))
        assert publisher.asked == 1

    async def test_unknown_keys_do_not_make_it_ask_again_and_again(
        self, publisher: Publisher, serve_app: ServeApp, session: Any
    ) -> None:
        keys = RemoteKeys(session, [await serve_app(publisher.app)], "EdDSA")
        for number in range(20):
            with pytest.raises(Unauthorized):
                await keys.key_for(f"unknown-{number}")
        assert publisher.asked == 1

    async def test_known_keys_go_on_counting_while_nobody_publishes_them(
        self, publisher: Publisher, session: Any
    ) -> None:
        async with serving(publisher.app) as url:
            keys = RemoteKeys(session, [url], "EdDSA")
            assert await keys.key_for("k1")
        assert await keys.key_for("k2")

    async def test_without_any_keys_it_is_a_dependency_that_is_down(self, session: Any) -> None:
        keys = RemoteKeys(session, [f"http://127.0.0.1:{free_port()}"], "EdDSA")
        for _ in range(2):
            with pytest.raises(DependencyDown) as down:
                await keys.key_for("k1")
        assert down.value.code == "auth_verify_unavailable"

    async def test_the_next_address_is_asked_where_one_is_silent(
        self, publisher: Publisher, serve_app: ServeApp, session: Any
    ) -> None:
        silent = f"http://127.0.0.1:{free_port()}"
        keys = RemoteKeys(session, [silent, await serve_app(publisher.app) + "/"], "EdDSA")
        assert await keys.key_for("k1")

    async def test_keys_of_another_algorithm_do_not_count(self, serve_app: ServeApp, session: Any) -> None:
        elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
        other = {**ECAlgorithm.to_jwk(elliptic, as_dict=True), "kid": "k1", "alg": "ES256"}
        keys = RemoteKeys(session, [await serve_app(Publisher(other, jwk(PRIVATE, "k2")).app)], "EdDSA")
        assert await keys.key_for("k2")
        with pytest.raises(Unauthorized):
            await keys.key_for("k1")

    @pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"keys":7}', b'{"keys":[7]}', b'{"keys":[{"kty":"x"}]}'])
    async def test_rubbish_for_keys_is_no_keys(self, serve_app: ServeApp, session: Any, answer: bytes) -> None:
        async def rubbish(_request: web.Request) -> web.Response:
            return web.Response(body=answer, content_type="application/json")

        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", rubbish)
        with pytest.raises(DependencyDown):
            await RemoteKeys(session, [await serve_app(app)], "EdDSA").key_for("k1")


async def test_with_a_shared_secret_nobody_is_asked(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with open_verifier(settings(nowhere, tmp_path, "HS256"), "") as verifier:
        assert await verifier.verify(jwt.encode(CLAIMS, "s" * 32, "HS256"))
