from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import sqlalchemy as sa

from services.auth_verify.adapters.sql.sessions import SqlSessions
from services.auth_verify.adapters.sql.tables import REFRESH_TOKENS, SESSIONS
from services.auth_verify.adapters.sql.users import SqlUsers
from services.auth_verify.app import MIGRATIONS
from services.auth_verify.model import User
from services.auth_verify.service.sessions import SessionService
from services.auth_verify.service.signing import SecretSigner
from services.auth_verify.settings import AuthVerifySettings
from shared.auth.revocations import Revocations, open_revocations
from shared.errors import Unauthorized
from shared.persistence.engine import Database, open_database
from shared.persistence.migrations import migrate
from tests.unit.services.auth_verify.api import JWT_SECRET, Api

ALICE = User("7e57ab1e-0000-4000-8000-000000000001", "alice", "a@b.org", ("admin",), datetime.now(UTC), "$argon2id$")


class TestOverHttp:
    """What a client sees."""

    async def test_each_refresh_gives_new_tokens_of_the_same_session(self, api: Api) -> None:
        user = await api.signed_in()
        reply = await api.refresh(user.refresh_token)
        assert reply.status == 200
        assert reply.body["refresh_token"] != user.refresh_token
        before, after = (
            jwt.decode(token, options={"verify_signature": False}) for token in (user.token, reply.body["access_token"])
        )
        assert (before["sid"], before["sub"]) == (after["sid"], after["sub"])
        assert before["jti"] != after["jti"]
        assert (await api.get("/api/auth/me", reply.body["access_token"])).status == 200
        assert (await api.refresh(reply.body["refresh_token"])).status == 200

    async def test_fifty_refreshes_at_once_get_one_successor(self, api: Api) -> None:
        user = await api.signed_in()
        replies = await asyncio.gather(*(api.refresh(user.refresh_token) for _ in range(50)))
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body["refresh_token"] for reply in replies}) == 1
        assert (await api.refresh(replies[0].body["refresh_token"])).status == 200

    async def test_an_unknown_token_is_401(self, api: Api) -> None:
        for token in ("rubbish", "\x00", "a" * 43, "ü" * 2000):
            reply = await api.refresh(token)
            assert (reply.status, reply.body["code"]) == (401, "invalid_refresh_token")

    async def test_a_missing_token_is_400(self, api: Api) -> None:
        for path in ("/api/auth/refresh", "/api/auth/logout"):
            assert (await api.post(path, {})).status == 400
            assert (await api.call("POST", path)).status == 400
            for token in (7, None, ""):
                assert (await api.post(path, {"refresh_token": token})).status == 422

    async def test_logout_ends_the_session_with_all_its_tokens(self, api: Api) -> None:
        user = await api.signed_in()
        renewed = (await api.refresh(user.refresh_token)).body
        reply = await api.post("/api/auth/logout", {"refresh_token": renewed["refresh_token"]})
        assert (reply.status, reply.body) == (204, b"")
        for token in (user.token, renewed["access_token"]):
            assert (await api.get("/api/auth/verify", token)).status == 401
        for token in (user.refresh_token, renewed["refresh_token"]):
            assert (await api.refresh(token)).status == 401

    async def test_logout_by_a_used_token_ends_the_session_too(self, api: Api) -> None:
        user = await api.signed_in()
        renewed = (await api.refresh(user.refresh_token)).body
        assert (await api.post("/api/auth/logout", {"refresh_token": user.refresh_token})).status == 204
        assert (await api.refresh(renewed["refresh_token"])).status == 401

    async def test_logout_leaves_the_users_other_sessions(self, api: Api) -> None:
        user = await api.signed_in()
        other = (await api.login(user.username)).body
        await api.post("/api/auth/logout", {"refresh_token": user.refresh_token})
        assert (await api.get("/api/auth/verify", other["access_token"])).status == 200
        assert (await api.refresh(other["refresh_token"])).status == 200

    async def test_logging_out_twice_or_by_an_unknown_token_is_no_error(self, api: Api) -> None:
        user = await api.signed_in()
        for token in (user.refresh_token, user.refresh_token, "rubbish"):
            assert (await api.post("/api/auth/logout", {"refresh_token": token})).status == 204

    async def test_refreshing_while_logging_out_leaves_no_token_alive(self, api: Api) -> None:
        user = await api.signed_in()
        logout = api.post("/api/auth/logout", {"refresh_token": user.refresh_token})
        *refreshed, ended = await asyncio.gather(*(api.refresh(user.refresh_token) for _ in range(10)), logout)
        assert ended.status == 204
        assert {reply.status for reply in refreshed} <= {200, 401}
        for reply in refreshed:
            if reply.status == 200:
                assert (await api.get("/api/auth/verify", reply.body["access_token"])).status == 401
                assert (await api.refresh(reply.body["refresh_token"])).status == 401


@dataclass
class World:
    """A SessionService with a clock that tests move."""

    service: SessionService
    database: Database
    revocations: Revocations
    now: datetime

    def pass_time(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    async def is_alive(self, access_token: str) -> bool:
        claims = jwt.decode(access_token, options={"verify_signature": False})
        return not await self.revocations.is_revoked(claims["sid"])

    async def count(self, table: sa.Table) -> int:
        async with self.database.read() as connection:
            return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


@pytest.fixture
async def world(settings: AuthVerifySettings) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings.database_url, settings.data_dir, "auth-verify")
        )
        await migrate(database, MIGRATIONS, "auth-verify", settings.data_dir)
        revocations = await stack.enter_async_context(open_revocations(settings.redis_url, settings.data_dir))
        users = SqlUsers(database)
        await users.add(ALICE)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        service = SessionService(
            settings, SqlSessions(database), users, SecretSigner(JWT_SECRET), revocations, now=lambda: made.now
        )
        made = World(service, database, revocations, now)
        yield made


class TestInTime:
    """What happens later."""

    async def test_a_replay_within_ten_seconds_gives_the_same_successor(self, world: World) -> None:
        first = await world.service.open(ALICE)
        second = await world.service.refresh(first.refresh_token)
        world.pass_time(seconds=10)
        assert (await world.service.refresh(first.refresh_token)).refresh_token == second.refresh_token
        assert (await world.service.refresh(second.refresh_token)).refresh_token != second.refresh_token

    async def test_a_later_replay_ends_the_whole_family(self, world: World) -> None:
        first = await world.service.open(ALICE)
        second = await world.service.refresh(first.refresh_token)
        third = await world.service.refresh(second.refresh_token)
        world.pass_time(seconds=10.001)
        with pytest.raises(Unauthorized):
            await world.service.refresh(first.refresh_token)
        for pair in (first, second, third):
            assert not await world.is_alive(pair.access_token)
            with pytest.raises(Unauthorized):
                await world.service.refresh(pair.refresh_token)
        assert await world.count(REFRESH_TOKENS) == 0

    async def test_a_replay_of_one_session_leaves_the_others(self, world: World) -> None:
        first, other = await world.service.open(ALICE), await world.service.open(ALICE)
        await world.service.refresh(first.refresh_token)
        world.pass_time(minutes=1)
        with pytest.raises(Unauthorized):
            await world.service.refresh(first.refresh_token)
        assert await world.is_alive(other.access_token)
        await world.service.refresh(other.refresh_token)

    async def test_an_unused_token_is_good_for_thirty_days(self, world: World) -> None:
        first = await world.service.open(ALICE)
        world.pass_time(days=30, seconds=-1)
        second = await world.service.refresh(first.refresh_token)
        world.pass_time(days=30)
        with pytest.raises(Unauthorized):
            await world.service.refresh(second.refresh_token)

    async def test_nothing_of_a_token_can_be_read_from_the_database(self, world: World) -> None:
        first = await world.service.open(ALICE)
        second = await world.service.refresh(first.refresh_token)
        async with world.database.read() as connection:
            rows = str((await connection.execute(sa.select(REFRESH_TOKENS))).all())
        assert first.refresh_token not in rows
        assert second.refresh_token not in rows

    async def test_signing_in_forgets_what_expired(self, world: World) -> None:
        await world.service.open(ALICE)
        world.pass_time(days=31)
        await world.service.open(ALICE)
        assert (await world.count(SESSIONS), await world.count(REFRESH_TOKENS)) == (1, 1)

    async def test_the_chain_of_a_long_session_is_cut_at_its_old_end(self, world: World) -> None:
        pair = await world.service.open(ALICE)
        for _ in range(4):
            world.pass_time(days=20)
            pair = await world.service.refresh(pair.refresh_token)
        assert await world.count(REFRESH_TOKENS) <= 3

    async def test_the_roles_are_read_again_at_each_refresh(self, world: World) -> None:
        first = await world.service.open(ALICE)
        second = await world.service.refresh(first.refresh_token)
        assert jwt.decode(second.access_token, options={"verify_signature": False})["roles"] == ["admin"]
