from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jwt
import pytest
import sqlalchemy as sa

from services.auth_verify.adapters.sql.signing_keys import SealBroken, SqlSigningKeys
from services.auth_verify.adapters.sql.tables import SIGNING_KEYS
from services.auth_verify.app import MIGRATIONS, build_app
from services.auth_verify.service.signing import KeyRing
from services.auth_verify.settings import AuthVerifySettings
from shared.errors import Conflict, Unauthorized
from shared.persistence.engine import Database, open_database
from shared.persistence.migrations import migrate
from tests.support.serving import ServeApp
from tests.unit.services.auth_verify.api import INTERNAL_SECRET, Api

JWKS = "/.well-known/jwks.json"


def published(keys: list[dict[str, Any]]) -> list[str]:
    return [key["kid"] for key in keys]


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


class TestOverHttp:
    async def test_a_shared_secret_is_not_published(self, api: Api) -> None:
        reply = await api.get(JWKS)
        assert (reply.status, reply.body) == (200, {"keys": []})

    @pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
    async def test_tokens_are_verified_with_the_published_keys(
        self, settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession, algorithm: str
    ) -> None:
        with_keys = settings.model_copy(update={"jwt_algorithm": algorithm, "jwt_secret_key": ""})
        api = Api(http, await serve_app(build_app(with_keys)))
        user = await api.signed_in()
        keys = (await api.get(JWKS)).body
        assert len(keys["keys"]) == 2
        for key in keys["keys"]:
            assert (key["use"], key["alg"]) == ("sig", algorithm)
            assert not {"d", "p", "q", "dp", "dq", "qi"} & set(key)
        key = jwt.PyJWKSet.from_dict(keys)[kid_of(user.token)]
        claims = jwt.decode(user.token, key, algorithms=[algorithm], audience="keepsake", issuer="keepsake")
        assert claims["sub"] == user.id
        assert (await api.get("/api/auth/me", user.token)).body["username"] == user.username

    async def test_a_token_of_another_algorithm_or_key_is_refused(
        self, settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession
    ) -> None:
        with_keys = settings.model_copy(update={"jwt_algorithm": "ES256"})
        api = Api(http, await serve_app(build_app(with_keys)))
        user = await api.signed_in()
        claims = jwt.decode(user.token, options={"verify_signature": False})
        kid = kid_of(user.token)
        forged = (
            jwt.encode(claims, settings.jwt_secret_key, "HS256", {"kid": kid}),
            jwt.encode(claims, "", "none", {"kid": kid}),
            user.token.rsplit(".", 1)[0] + ".",
            user.token[:-6] + "AAAAAA",
        )
        for token in forged:
            assert (await api.get("/api/auth/me", token)).status == 401

    async def test_two_that_start_at_once_sign_with_the_same_keys(
        self, settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession
    ) -> None:
        with_keys = settings.model_copy(update={"jwt_algorithm": "EdDSA"})
        urls = await asyncio.gather(*(serve_app(build_app(with_keys)) for _ in range(3)))
        apis = [Api(http, url) for url in urls]
        answers = [(await api.get(JWKS)).body for api in apis]
        assert answers[0] == answers[1] == answers[2]
        user = await apis[0].signed_in()
        assert (await apis[2].get("/api/auth/me", user.token)).status == 200


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
async def database(settings: AuthVerifySettings) -> AsyncIterator[Database]:
    async with open_database(settings.database_url, settings.data_dir, "auth-verify") as opened:
        await migrate(opened, MIGRATIONS, "auth-verify", settings.data_dir)
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ring(database: Database, clock: Clock) -> KeyRing:
    opened = KeyRing(SqlSigningKeys(database, INTERNAL_SECRET), "EdDSA", now=clock)
    await opened.prepare()
    return opened


class TestRotation:
    async def test_next_becomes_current_and_a_new_next_appears(self, ring: KeyRing, clock: Clock) -> None:
        current, following = published(await ring.public_keys())
        assert kid_of(await ring.sign({})) == current
        await ring.rotate()
        clock.pass_time(seconds=5)
        assert kid_of(await ring.sign({})) == following
        assert published(await ring.public_keys())[:2] == [current, following]
        assert len(await ring.public_keys()) == 3

    async def test_a_running_process_notices(self, ring: KeyRing, database: Database, clock: Clock) -> None:
        before = await ring.sign({})
        elsewhere = KeyRing(SqlSigningKeys(database, INTERNAL_SECRET), "EdDSA", now=clock)
        await elsewhere.rotate()
        clock.pass_time(seconds=5)
        after = await ring.sign({})
        assert kid_of(after) != kid_of(before)
        assert await elsewhere.key_for(kid_of(after))

    async def test_the_old_key_counts_until_its_last_token_has_expired(self, ring: KeyRing, clock: Clock) -> None:
        old = kid_of(await ring.sign({}))
        await ring.rotate()
        clock.pass_time(minutes=16)
        assert await ring.key_for(old)
        assert old in published(await ring.public_keys())
        clock.pass_time(minutes=1)
        assert old not in published(await ring.public_keys())
        with pytest.raises(Unauthorized):
            await ring.key_for(old)

    async def test_keys_of_long_ago_are_forgotten(self, ring: KeyRing, database: Database, clock: Clock) -> None:
        for _ in range(4):
            await ring.rotate()
            clock.pass_time(hours=1)
        async with database.read() as connection:
            assert await connection.scalar(sa.select(sa.func.count()).select_from(SIGNING_KEYS)) == 3

    async def test_of_simultaneous_rotations_each_is_whole_or_refused(self, ring: KeyRing, clock: Clock) -> None:
        results = await asyncio.gather(*(ring.rotate() for _ in range(5)), return_exceptions=True)
        assert all(result is None or isinstance(result, Conflict) for result in results)
        done = sum(result is None for result in results)
        clock.pass_time(seconds=5)
        assert len(await ring.public_keys()) == 2 + done
        assert await ring.sign({})

    async def test_a_ring_without_the_database_goes_on_with_what_it_knows(
        self, ring: KeyRing, database: Database, clock: Clock
    ) -> None:
        token = await ring.sign({})
        async with database.begin() as connection:
            await connection.execute(sa.text("ALTER TABLE auth_signing_keys RENAME TO gone"))
        clock.pass_time(seconds=6)
        assert await ring.key_for(kid_of(token))

    async def test_the_private_keys_are_sealed(self, ring: KeyRing, database: Database) -> None:
        async with database.read() as connection:
            rows = (await connection.execute(sa.select(SIGNING_KEYS))).all()
        assert all(b"PRIVATE KEY" not in row.sealed_private for row in rows)
        with pytest.raises(SealBroken):
            await SqlSigningKeys(database, "another secret").load("EdDSA")
