from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import aiohttp
import jwt
import pytest
import sqlalchemy as sa

from services.auth_verify.adapters.sql.tables import SESSIONS, USERS
from services.auth_verify.app import build_app
from services.auth_verify.settings import AuthVerifySettings
from shared.persistence.engine import open_database
from tests.support.serving import ServeApp
from tests.unit.services.auth_verify.api import JWT_SECRET, PASSWORD, Api, Reply, SignedIn

USERS_PATH = "/api/admin/users"


async def made_admin(api: Api, settings: AuthVerifySettings, username: str) -> SignedIn:
    """Register somebody, make an admin of them past the service, and sign in."""
    user = await api.signed_in(username)
    async with (
        open_database(settings.database_url, settings.data_dir, "auth-verify") as database,
        database.begin() as db,
    ):
        await db.execute(sa.update(USERS).where(USERS.c.id == user.id).values(roles=["admin"]))
    tokens = (await api.login(username)).body
    return SignedIn(user.id, username, tokens["access_token"], tokens["refresh_token"])


@pytest.fixture
async def root(api: Api, settings: AuthVerifySettings) -> SignedIn:
    return await made_admin(api, settings, "root")


async def change(api: Api, caller: SignedIn, user_id: str, **body: object) -> Reply:
    return await api.call("PATCH", f"{USERS_PATH}/{user_id}", token=caller.token, json=body)


class TestLookingThrough:
    async def test_finds_users_newest_first_by_a_part_of_name_or_email_in_any_spelling(
        self, api: Api, root: SignedIn
    ) -> None:
        await api.register("José", email="jose@one.example")
        await api.register("Mary", email="Mary@TWO.example")
        for query, names in (
            ("", ["Mary", "José", "root"]),
            ("JOSE\u0301", ["José"]),
            ("two.EX", ["Mary"]),
            (".example", ["Mary", "José"]),
            ("%", []),
            ("_", []),
            ("nobody", []),
        ):
            reply = await api.call("GET", USERS_PATH, token=root.token, params={"query": query})
            assert (reply.status, [user["username"] for user in reply.body["users"]]) == (200, names), query
            assert (reply.body["count"], reply.body["next_cursor"]) == (len(names), None)
        assert set(reply.body) == {"users", "count", "next_cursor"}

    async def test_goes_on_at_the_cursor(self, api: Api, root: SignedIn) -> None:
        for number in range(4):
            await api.register(f"user-{number}")
        seen: list[str] = []
        query = {"limit": "2", "query": "user-"}
        while True:
            body = (await api.call("GET", USERS_PATH, token=root.token, params=query)).body
            seen += [user["username"] for user in body["users"]]
            if body["next_cursor"] is None:
                break
            query["cursor"] = body["next_cursor"]
        assert seen == ["user-3", "user-2", "user-1", "user-0"]

    async def test_refuses_what_is_no_query_of_ours(self, api: Api, root: SignedIn) -> None:
        for query in ({"limit": "0"}, {"limit": "101"}, {"cursor": "x"}, {"query": "\x00"}, {"query": "x" * 255}):
            assert (await api.call("GET", USERS_PATH, token=root.token, params=query)).status == 422, query

    async def test_shows_what_an_admin_needs_and_no_hash(self, api: Api, root: SignedIn) -> None:
        (user,) = (await api.get(USERS_PATH, root.token)).body["users"]
        assert set(user) == {"id", "username", "email", "roles", "created_at", "disabled"}
        assert (user["roles"], user["disabled"]) == (["admin"], False)


class TestRoles:
    async def test_count_from_the_next_token_on(self, api: Api, root: SignedIn) -> None:
        sam = await api.signed_in("sam")
        reply = await change(api, root, sam.id, roles=["admin"])
        assert (reply.status, reply.body["roles"]) == (200, ["admin"])
        assert (await api.get(USERS_PATH, sam.token)).status == 403
        renewed = (await api.refresh(sam.refresh_token)).body
        assert (await api.get(USERS_PATH, renewed["access_token"])).status == 200
        assert (await change(api, root, sam.id, roles=[])).body["roles"] == []
        renewed = (await api.login("sam")).body
        assert (await api.get(USERS_PATH, renewed["access_token"])).status == 403

    async def test_taken_away_end_the_sessions_that_had_them(
        self, api: Api, root: SignedIn, settings: AuthVerifySettings
    ) -> None:
        former = await made_admin(api, settings, "former")
        assert (await change(api, root, former.id, roles=[])).status == 200
        assert (await change(api, former, former.id, roles=["admin"])).status == 401
        assert (await api.get("/api/auth/me", former.token)).status == 401
        assert (await api.refresh(former.refresh_token)).status == 401
        assert (await api.login("former")).status == 200

    async def test_count_by_the_table_and_not_by_an_older_token(
        self, api: Api, root: SignedIn, settings: AuthVerifySettings
    ) -> None:
        former = await made_admin(api, settings, "former")
        less: tuple[dict[str, Any], ...] = ({"roles": []}, {"roles": ["admin"], "disabled": True})
        for gone in less:
            async with (  # past the service, so that no session ends
                open_database(settings.database_url, settings.data_dir, "auth-verify") as database,
                database.begin() as db,
            ):
                await db.execute(sa.update(USERS).where(USERS.c.id == former.id).values(gone))
            assert (await api.get(USERS_PATH, former.token)).status == 403
            assert (await change(api, former, former.id, roles=["admin"], disabled=False)).status == 403
        assert (await api.get(USERS_PATH, root.token)).status == 200

    async def test_of_another_issuers_admins_are_as_their_token_says(self, api: Api) -> None:
        claims = {"sub": "boss", "roles": ["admin"], "iss": "keepsake", "aud": "keepsake", "exp": time.time() + 60}
        assert (await api.get(USERS_PATH, jwt.encode(claims, JWT_SECRET, "HS256"))).status == 200

    async def test_what_is_no_role_or_nobody_is_refused(self, api: Api, root: SignedIn) -> None:
        for body in ({"roles": ["king"]}, {"roles": "admin"}, {"roles": ["admin"] * 2}, {"disabled": "yes"}):
            assert (await change(api, root, root.id, **body)).status == 422, body
        for user_id in (str(uuid4()), "sam", "%00", "x" * 300):
            reply = await change(api, root, user_id, roles=[])
            assert (reply.status, reply.body["code"]) == (404, "user_not_found"), user_id

    @pytest.mark.parametrize(
        ("roles", "sentence"),
        [
            (["admin", ""], "roles: must be a list of at most 1."),
            ("admin", "roles: must be a list."),
            (["king"], "roles.0: must be 'admin'."),
        ],
    )
    async def test_are_refused_in_plain_sentences(self, api: Api, root: SignedIn, roles: object, sentence: str) -> None:
        assert (await change(api, root, root.id, roles=roles)).body["error"] == sentence

    async def test_are_for_admins_to_give(self, api: Api, root: SignedIn) -> None:
        sam = await api.signed_in("sam")
        assert (await change(api, sam, sam.id, roles=["admin"])).status == 403
        assert (await api.get(USERS_PATH, sam.token)).status == 403
        assert (await api.get(USERS_PATH)).status == 401


class TestDisabling:
    async def test_ends_all_sessions_and_signs_nobody_in(self, api: Api, root: SignedIn) -> None:
        sam = await api.signed_in("sam")
        second = (await api.login("sam")).body
        reply = await change(api, root, sam.id, disabled=True)
        assert (reply.status, reply.body["disabled"]) == (200, True)
        for token in (sam.token, second["access_token"]):
            assert (await api.get("/api/auth/me", token)).status == 401
        for token in (sam.refresh_token, second["refresh_token"]):
            assert (await api.refresh(token)).status == 401
        refused, wrong = await api.login("sam"), await api.login("sam", "another password")
        assert (refused.status, refused.body["code"]) == (401, "invalid_credentials")
        assert refused.body["error"] == wrong.body["error"]

    async def test_can_be_undone(self, api: Api, root: SignedIn) -> None:
        sam = await api.signed_in("sam")
        await change(api, root, sam.id, disabled=True)
        assert (await change(api, root, sam.id, disabled=False)).body["disabled"] is False
        assert (await api.login("sam")).status == 200
        assert (await api.refresh(sam.refresh_token)).status == 401

    async def test_counts_in_every_replica_at_once(
        self, api: Api, root: SignedIn, settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession
    ) -> None:
        other = Api(http, await serve_app(build_app(settings)))
        sam = await api.signed_in("sam")
        assert (await other.get("/api/auth/me", sam.token)).status == 200
        await change(api, root, sam.id, disabled=True)
        assert (await other.get("/api/auth/me", sam.token)).status == 401
        assert (await other.refresh(sam.refresh_token)).status == 401
        assert (await other.login("sam")).status == 401

    async def test_leaves_no_session_of_those_who_sign_in_meanwhile(
        self, api: Api, root: SignedIn, settings: AuthVerifySettings
    ) -> None:
        sam = await api.signed_in("sam")
        logins = [asyncio.create_task(api.login("sam")) for _ in range(20)]
        await change(api, root, sam.id, disabled=True)
        for reply in await asyncio.gather(*logins):
            if reply.status == 200:
                assert (await api.get("/api/auth/me", reply.body["access_token"])).status == 401
        left = sa.select(sa.func.count()).select_from(SESSIONS).where(SESSIONS.c.user_id == sam.id)
        async with (
            open_database(settings.database_url, settings.data_dir, "auth-verify") as database,
            database.read() as db,
        ):
            assert await db.scalar(left) == 0


class TestTheLastAdmin:
    async def test_stays(self, api: Api, root: SignedIn) -> None:
        less: tuple[dict[str, Any], ...] = ({"roles": []}, {"disabled": True}, {"roles": [], "disabled": True})
        for body in less:
            reply = await change(api, root, root.id, **body)
            assert (reply.status, reply.body["code"]) == (409, "last_admin"), body
        assert (await change(api, root, root.id, roles=["admin"], disabled=False)).status == 200
        assert (await api.get(USERS_PATH, root.token)).status == 200

    async def test_is_who_is_not_disabled(self, api: Api, root: SignedIn, settings: AuthVerifySettings) -> None:
        second = await made_admin(api, settings, "second")
        assert (await change(api, root, second.id, disabled=True)).status == 200
        assert (await change(api, root, root.id, roles=[])).status == 409
        assert (await change(api, root, second.id, roles=[])).status == 200

    async def test_of_two_who_depose_each_other_at_once_one_stays(
        self, api: Api, root: SignedIn, settings: AuthVerifySettings
    ) -> None:
        second = await made_admin(api, settings, "second")
        replies = await asyncio.gather(
            change(api, root, second.id, roles=[]), change(api, second, root.id, disabled=True)
        )
        assert sorted(reply.status for reply in replies) in ([200, 409], [200, 401], [200, 403])
        tokens = [(await api.login(name, PASSWORD)) for name in ("root", "second")]
        reached = [(await api.get(USERS_PATH, reply.body.get("access_token", ""))).status for reply in tokens]
        assert reached.count(200) == 1
