from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request

from shared.auth.access_tokens import (
    ServiceGuard,
    SharedSecret,
    TokenVerifier,
    bearer_token,
    sign_service_token,
)
from shared.auth.redis_revocations import RedisRevocations
from shared.auth.revocations import DiskRevocations, Revocations
from shared.errors import Unauthorized
from shared.persistence.redis import open_redis
from shared.settings import TokenSettings
from tests.support.processes import free_port

SECRET = "a-secret-of-the-tests-0123456789-abcdef"
SETTINGS = TokenSettings(_env_file=None, jwt_secret_key=SECRET, internal_secret="i" * 32)
FAR = 4_000_000_000


@pytest.fixture
def revocations(tmp_path: Path) -> Revocations:
    return DiskRevocations(tmp_path / "revoked")


@pytest.fixture
def verifier(revocations: Revocations) -> TokenVerifier:
    return TokenVerifier(SETTINGS, SharedSecret(SECRET), revocations)


def sign(**claims: Any) -> str:
    return jwt.encode({"sub": "u1", "exp": FAR, **claims}, SECRET, "HS256")


def sign_text(payload: str, **header: Any) -> str:
    """Sign a payload and header that no library would write."""
    parts = [json.dumps({"alg": "HS256", "typ": "JWT", **header}), payload]
    signed = b".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in parts)
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = algorithm.sign(signed, algorithm.prepare_key(SECRET))
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class TestAGoodToken:
    async def test_of_ours_names_the_caller_and_the_roles(self, verifier: TokenVerifier) -> None:
        principal = await verifier.verify(
            sign(username="alice", roles=["admin", 7], iss="keepsake", aud="keepsake", sid="s1", extra=[1])
        )
        assert (principal.user_id, principal.username, principal.sid) == ("u1", "alice", "s1")
        assert principal.roles == ("admin",)
        assert principal.is_admin
        assert principal.claims["extra"] == [1]

    async def test_without_issuer_and_audience_counts_but_its_roles_do_not(self, verifier: TokenVerifier) -> None:
        principal = await verifier.verify(sign(roles=["admin"]))
        assert principal.user_id == principal.username == "u1"
        assert not principal.is_admin

    async def test_may_have_several_audiences(self, verifier: TokenVerifier) -> None:
        assert await verifier.verify(sign(aud=["other", "keepsake"]))

    async def test_counts_for_thirty_seconds_after_it_expired(self, verifier: TokenVerifier) -> None:
        assert await verifier.verify(sign(exp=int(time.time()) - 15))

    async def test_is_verified_again_from_memory(self, verifier: TokenVerifier) -> None:
        token = sign()
        assert await verifier.verify(token) is await verifier.verify(token)

    async def test_of_an_ended_session_is_refused_even_from_memory(
        self, verifier: TokenVerifier, revocations: Revocations
    ) -> None:
        token = sign(sid="s1")
        await verifier.verify(token)
        await revocations.revoke("s1")
        with pytest.raises(Unauthorized):
            await verifier.verify(token)
        assert await verifier.verify(sign(sid="s2"))


NOW = int(time.time())
# What a forger may send beside these is in tests/system/attacks/forgeries.py, and tried at every door.
BAD: dict[str, Callable[[], str]] = {
    "empty": str,
    "not a JWT": lambda: "a.b.c",
    "not ASCII": lambda: "é.é.é",
    "a surrogate": lambda: "\udcff.a.b",
    "unsigned": lambda: jwt.encode({"sub": "u1", "exp": FAR}, "", "none"),
    "another secret": lambda: jwt.encode({"sub": "u1", "exp": FAR}, SECRET + "x", "HS256"),
    "expired": lambda: sign(exp=NOW - 60),
    "username has a NUL": lambda: sign(username="a\x00"),
    "username has a surrogate": lambda: sign_text('{"sub":"u1","exp":4000000000,"username":"\\ud800"}'),
}


@pytest.mark.parametrize(
    "subject", ["auth0|7", "https://accounts.example.com/u/12", "a\u202eb", "👩\u200d💻", "山田\u3000太郎", "a\xa0b"]
)
async def test_the_subjects_that_issuers_give_are_good(verifier: TokenVerifier, subject: str) -> None:
    assert (await verifier.verify(sign(sub=subject))).user_id == subject


@pytest.mark.parametrize("why", BAD)
async def test_a_bad_token_is_refused(verifier: TokenVerifier, why: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        await verifier.verify(BAD[why]())
    assert refused.value.code == "invalid_token"
    assert 'error="invalid_token"' in refused.value.headers["WWW-Authenticate"]


@pytest.mark.parametrize("claims", [{}, {"iss": "keepsake"}, {"aud": "keepsake"}])
async def test_with_key_pairs_issuer_and_audience_are_required(
    revocations: Revocations, claims: dict[str, str]
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()

    class OneKey:
        async def key_for(self, kid: str | None) -> Any:
            return private.public_key()

    strict = TokenVerifier(SETTINGS.model_copy(update={"jwt_algorithm": "EdDSA"}), OneKey(), revocations)
    whole = {"sub": "u1", "exp": FAR, "iss": "keepsake", "aud": "keepsake"}
    assert await strict.verify(jwt.encode(whole, private, "EdDSA"))
    with pytest.raises(Unauthorized):
        await strict.verify(jwt.encode({"sub": "u1", "exp": FAR, **claims}, private, "EdDSA"))
    with pytest.raises(Unauthorized):
        await strict.verify(sign(iss="keepsake", aud="keepsake"))


class TestRevocations:
    @pytest.fixture(params=["disk", "redis"])
    async def opened(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        if request.param == "disk":
            yield DiskRevocations(tmp_path / "revoked")
            return
        async with open_redis(request.getfixturevalue("redis_url")) as redis:
            yield RedisRevocations(redis)

    async def test_a_session_has_ended_once_it_was_revoked(self, opened: Revocations) -> None:
        for sid in ("s1", "../../etc", "a/b", "", "\udcff", "x" * 5000):
            assert not await opened.is_revoked(sid)
            await opened.revoke(sid)
            await opened.revoke(sid)
            assert await opened.is_revoked(sid)
        assert not await opened.is_revoked("s2")

    async def test_with_the_list_out_of_reach_tokens_stand_and_are_counted(self) -> None:
        from shared.metrics import REVOCATIONS_UNKNOWN

        def counted() -> float:
            [metric] = REVOCATIONS_UNKNOWN.collect()
            return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))

        before = counted()
        async with open_redis(f"redis://127.0.0.1:{free_port()}") as redis:
            verifier = TokenVerifier(SETTINGS, SharedSecret(SECRET), RedisRevocations(redis))
            for _ in range(3):
                assert await verifier.verify(sign(sid="s1"))
        assert counted() == before + 3


class TestBetweenServices:
    @pytest.fixture
    def guard(self) -> ServiceGuard:
        return ServiceGuard("i" * 32, "temp-image")

    def test_a_service_is_known_by_its_token(self, guard: ServiceGuard) -> None:
        token = sign_service_token("i" * 32, caller="checkout", audience="temp-image", addr="192.0.2.1")
        assert guard.require(token) == "checkout"
        assert guard.claims(token)["addr"] == "192.0.2.1"

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "checkout", "aud": "media-store", "iat": NOW, "exp": NOW + 60},
            {"iss": "checkout", "aud": "temp-image", "iat": NOW, "exp": NOW + 600},
            {"iss": "checkout", "aud": "temp-image", "iat": NOW - 600, "exp": NOW - 540},
            {"iss": "checkout", "aud": "temp-image", "exp": NOW + 60},
            {"aud": "temp-image", "iat": NOW, "exp": NOW + 60},
            {"iss": "checkout", "aud": "temp-image", "iat": "x", "exp": NOW + 60},
        ],
    )
    def test_another_token_is_refused(self, guard: ServiceGuard, claims: dict[str, Any]) -> None:
        header, payload = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        )
        algorithm = jwt.get_algorithm_by_name("HS256")
        signature = algorithm.sign(f"{header}.{payload}".encode(), algorithm.prepare_key("i" * 32))
        token = f"{header}.{payload}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        with pytest.raises(Unauthorized):
            guard.claims(token)

    def test_a_token_is_good_again_until_it_expires(self, guard: ServiceGuard) -> None:
        expired_at = int(time.time()) - 29  # and is good for 30 s more
        claims = {"iss": "checkout", "aud": "temp-image", "iat": expired_at - 60, "exp": expired_at}
        token = jwt.encode(claims, "i" * 32, "HS256")
        assert [guard.require(token) for _ in range(2)] == ["checkout"] * 2
        while time.time() <= expired_at + 30:
            time.sleep(0.05)
        with pytest.raises(Unauthorized):
            guard.require(token)

    def test_a_users_token_opens_no_internal_path(self, guard: ServiceGuard) -> None:
        with pytest.raises(Unauthorized):
            guard.claims(sign(aud="temp-image", iss="checkout", iat=NOW))


class TestTheHeader:
    def test_holds_the_token_behind_any_spelling_of_bearer(self) -> None:
        for value in ("Bearer abc", "bearer abc", "BEARER  abc "):
            assert bearer_token(make_mocked_request("GET", "/", {"Authorization": value})) == "abc"

    def test_of_another_scheme_or_none_is_no_token(self) -> None:
        for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "abc"}, {"Authorization": ""}):
            with pytest.raises(Unauthorized) as refused:
                bearer_token(make_mocked_request("GET", "/", headers))
            assert refused.value.headers["WWW-Authenticate"] == "Bearer"

    def test_without_a_token_in_it_is_a_bad_one(self) -> None:
        with pytest.raises(Unauthorized) as refused:
            bearer_token(make_mocked_request("GET", "/", {"Authorization": "Bearer "}))
        assert "invalid_token" in refused.value.headers["WWW-Authenticate"]
