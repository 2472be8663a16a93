from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import aiohttp
import pytest
import sqlalchemy as sa
from aiohttp import web

from services.auth_verify.adapters.http import HttpPeople
from services.auth_verify.adapters.sql.erasures import SqlErasures
from services.auth_verify.adapters.sql.tables import ERASURES, MEMBERS, METADATA, ORGANIZATIONS
from services.auth_verify.app import NAME, build_app
from services.auth_verify.service.erasure import PersonEraser
from services.auth_verify.settings import AuthVerifySettings
from shared.app.erasure import ErasureRequest
from shared.auth.access_tokens import ServiceGuard
from shared.auth.service_client import ServiceClient
from shared.clock import utc_now
from shared.http.validation import parse_json
from shared.persistence.engine import Database, open_database
from tests.support.dying import Death, Killed
from tests.support.serving import ServeApp, serving
from tests.unit.services.auth_verify.api import INTERNAL_SECRET, PASSWORD, Api, SignedIn
from tests.unit.services.auth_verify.test_users import made_admin

ME = "/api/auth/me"
OTHERS = ("planter-orders", "checkout", "media-store")


@dataclass
class People:
    """The services that know people, at one address: each keeps three things of everybody, and may be down."""

    kept: dict[tuple[str, str], int] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    asked: list[ErasureRequest] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        service = request.match_info["service"]
        assert ServiceGuard(INTERNAL_SECRET, service).require(token) == NAME
        if service in self.down:
            return web.json_response({}, status=503)
        who = await parse_json(request, ErasureRequest)
        self.asked.append(who)
        key = (service, who.user_id)
        left = self.kept[key] = max(0, self.kept.get(key, 3) - 1)
        return web.json_response({"done": left == 0})

    def left_of(self, user_id: str) -> list[str]:
        """Name the services that keep something of somebody."""
        return [service for service in OTHERS if self.kept.get((service, user_id), 3)]


@pytest.fixture
async def people() -> AsyncIterator[People]:
    known, app = People(), web.Application()
    app.router.add_post("/{service}/internal/erasures", known.answer)
    async with serving(app) as url:
        known.url = url
        yield known


@pytest.fixture
def settings(settings: AuthVerifySettings, people: People) -> AuthVerifySettings:
    urls = {f"{name.replace('-', '_')}_url": (f"{people.url}/{name}",) for name in OTHERS}
    return settings.model_copy(update=urls)


@pytest.fixture
async def api(settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession) -> Api:
    return Api(http, await serve_app(build_app(settings)))


@asynccontextmanager
async def opened(settings: AuthVerifySettings) -> AsyncIterator[Database]:
    async with open_database(settings.database_url, settings.data_dir, NAME) as database:
        yield database


async def mentions(settings: AuthVerifySettings, *words: str) -> list[str]:
    """Name the tables in which one of the words stands."""
    async with opened(settings) as database, database.read() as connection:
        return [
            table.name
            for table in METADATA.sorted_tables
            if table is not ERASURES
            for rows in [repr((await connection.execute(sa.select(table))).all())]
            if any(word in rows for word in words)
        ]


class TestByTheirOwnWish:
    async def test_nothing_is_left_of_the_account_and_the_services_were_told(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        sam = await api.signed_in("Sam")
        second = (await api.login("sam")).body
        reply = await api.call("DELETE", ME, token=sam.token, json={"password": PASSWORD})
        assert (reply.status, reply.body) == (204, b"")
        assert people.left_of(sam.id) == []
        assert await mentions(settings, sam.id, "Sam", "sam") == []
        for token in (sam.token, second["access_token"]):
            assert (await api.get(ME, token)).status == 401
        assert (await api.refresh(sam.refresh_token)).status == 401
        assert (await api.login("Sam")).status == 401
        assert (await api.register("sam")).status == 201

    async def test_the_password_is_asked_for(self, api: Api, people: People) -> None:
        sam = await api.signed_in("sam")
        for body, status in (({}, 400), ({"password": ""}, 422), ({"password": "not the password"}, 403)):
            reply = await api.call("DELETE", ME, token=sam.token, json=body)
            assert reply.status == status, reply.body
        assert (await api.call("DELETE", ME, json={"password": PASSWORD})).status == 401
        assert (await api.get(ME, sam.token)).status == 200
        assert people.left_of(sam.id) == list(OTHERS)

    async def test_the_last_admin_stays(self, api: Api, settings: AuthVerifySettings, people: People) -> None:
        root = await made_admin(api, settings, "root")
        reply = await api.call("DELETE", ME, token=root.token, json={"password": PASSWORD})
        assert (reply.status, reply.body["code"]) == (409, "last_admin")
        assert (await api.login("root")).status == 200
        assert people.left_of(root.id) == list(OTHERS)

    async def test_a_service_that_is_down_is_told_when_it_is_back(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        sam = await api.signed_in("sam")
        people.down = {"media-store"}
        assert (await api.call("DELETE", ME, token=sam.token, json={"password": PASSWORD})).status == 204
        assert people.left_of(sam.id) == ["media-store"]
        assert (await api.get(ME, sam.token)).status == 401
        assert (await api.login("sam")).status == 401
        people.down = set()
        async with opened(settings) as database:
            await eraser(database, people, minutes=1).sweep()
        assert people.left_of(sam.id) == []
        assert await mentions(settings, sam.id, "sam") == []


class TestOrganizations:
    async def test_get_another_owner_or_go_with_their_last_member(self, api: Api, settings: AuthVerifySettings) -> None:
        sam, bob, eve = [await api.signed_in(name) for name in ("sam", "bob", "eve")]
        alone, shared = await api.found(sam, "alone"), await api.found(sam, "shared")
        for member, role in ((bob, "member"), (eve, "admin")):
            body = {"user_id": member.id, "role": role}
            assert (await api.post(f"/api/v1/organizations/{shared}/members", body, sam.token)).status == 201
        assert (await api.call("DELETE", ME, token=sam.token, json={"password": PASSWORD})).status == 204
        members = (await api.get(f"/api/v1/organizations/{shared}/members", bob.token)).body["members"]
        assert {member["username"]: member["role"] for member in members} == {"bob": "member", "eve": "owner"}
        async with opened(settings) as database, database.read() as connection:
            left = (await connection.scalars(sa.select(ORGANIZATIONS.c.id))).all()
            assert left == [shared]
            assert alone not in (await connection.scalars(sa.select(MEMBERS.c.organization_id))).all()


def eraser(database: Database, people: People, death: Death | None = None, *, minutes: float = 0) -> PersonEraser:
    """Return what a process erases with; it may die, and begins `minutes` from now."""
    death = death or Death(-1)

    async def end_sessions(user_id: str) -> None:
        async with database.begin() as connection:
            await connection.execute(sa.text("DELETE FROM auth_sessions WHERE user_id = :id"), {"id": user_id})

    session = aiohttp.ClientSession()
    _SESSIONS.append(session)
    others = [
        HttpPeople(
            ServiceClient(session, [f"{people.url}/{name}"], name=name, caller=NAME, secret=INTERNAL_SECRET), name
        )
        for name in OTHERS
    ]

    def now() -> datetime:
        return utc_now() + timedelta(minutes=minutes)

    return PersonEraser(death.to(SqlErasures(database)), death.on(end_sessions), [death.to(one) for one in others], now)


_SESSIONS: list[aiohttp.ClientSession] = []


@pytest.fixture(autouse=True)
async def _sessions_end() -> AsyncIterator[None]:
    yield
    while _SESSIONS:
        await _SESSIONS.pop().close()


class TestWhoeverDies:
    async def test_at_any_step_the_next_process_goes_on_to_the_end(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        async with opened(settings) as database:
            for step in itertools.count():
                sam = await api.signed_in(f"sam-{step}")
                try:
                    await eraser(database, people, Death(step)).erase(sam.id, sam.username)
                    break
                except Killed:
                    pass
                begun = await self._is_begun(database, sam)
                await eraser(database, people, minutes=2).sweep()
                if begun:
                    assert people.left_of(sam.id) == [], step
                    assert await mentions(settings, sam.id, sam.username) == [], step
                else:  # it died before it was written down, and so before it was answered
                    assert step == 0
                    assert (await api.get(ME, sam.token)).status == 200
            assert step > 2 * (2 + 3 * len(OTHERS))
            while await eraser(database, people, minutes=33).sweep():  # the last look at each
                pass
            async with database.read() as connection:
                assert (await connection.scalars(sa.select(ERASURES.c.user_id))).all() == []

    async def _is_begun(self, database: Database, user: SignedIn) -> bool:
        async with database.read() as connection:
            query = sa.select(ERASURES.c.user_id).where(ERASURES.c.user_id == user.id)
            return (await connection.execute(query)).first() is not None

    async def test_what_was_under_way_is_erased_by_a_last_look(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        sam = await api.signed_in("sam")
        await api.call("DELETE", ME, token=sam.token, json={"password": PASSWORD})
        people.kept["media-store", sam.id] = 2  # an upload that ended after its person was erased
        async with opened(settings) as database:
            await eraser(database, people, minutes=29).sweep()
            assert people.left_of(sam.id) == ["media-store"]
            await eraser(database, people, minutes=31).sweep()
        assert people.left_of(sam.id) == []

    async def test_the_last_look_leaves_what_the_next_person_with_the_name_has(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        sam = await api.signed_in("sam")
        await api.call("DELETE", ME, token=sam.token, json={"password": PASSWORD})
        assert {who.username for who in people.asked} == {"sam"}
        people.asked.clear()
        assert (await api.register("sam")).status == 201
        async with opened(settings) as database:
            await eraser(database, people, minutes=31).sweep()
        assert people.asked == [ErasureRequest(user_id=sam.id, username="")] * len(OTHERS)

    async def test_of_several_processes_each_takes_another(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        people.down = set(OTHERS)
        users = [await api.signed_in() for _ in range(4)]
        for user in users:
            await api.call("DELETE", ME, token=user.token, json={"password": PASSWORD})
        people.down = set()
        async with opened(settings) as database:
            await asyncio.gather(*(eraser(database, people, minutes=1).sweep() for _ in range(3)))
        assert [people.left_of(user.id) for user in users] == [[]] * 4


@pytest.mark.long
class TestByCommand:
    def command(self, settings: AuthVerifySettings, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "DATA_DIR": str(settings.data_dir),
            "JWT_SECRET_KEY": settings.jwt_secret_key,
            "INTERNAL_SECRET": settings.internal_secret,
            "AUTH_VERIFY_DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            **{f"{name.upper().replace('-', '_')}_URL": settings.people_urls[name][0] for name in OTHERS},
        }
        line = [sys.executable, "-m", "services.auth_verify", "erase", *arguments]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)

    async def test_somebody_is_erased_by_any_spelling_of_the_name(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        sam = await api.signed_in("Sam")
        done = await asyncio.to_thread(self.command, settings, "--username", "SAM")
        assert (done.returncode, done.stdout.startswith("Nothing is left")) == (0, True), done.stderr
        assert people.left_of(sam.id) == []
        assert (await api.get(ME, sam.token)).status == 401

    async def test_it_says_what_is_not_done_yet_and_who_is_nobody(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        sam = await api.signed_in("sam")
        people.down = {"checkout"}
        done = await asyncio.to_thread(self.command, settings, "--username", "sam")
        assert (done.returncode, "Not done yet: checkout." in done.stdout) == (3, True), done.stdout
        assert people.left_of(sam.id) == ["checkout"]
        nobody = await asyncio.to_thread(self.command, settings, "--username", "nobody")
        assert (nobody.returncode, nobody.stderr) == (1, "keepsake: There is no such user.\n")

    async def test_another_issuers_person_is_erased_by_the_subject(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        done = await asyncio.to_thread(self.command, settings, "--user-id", "https://accounts.example.com/u/12")
        assert done.returncode == 0, done.stderr
        assert people.left_of("https://accounts.example.com/u/12") == []
        again = await asyncio.to_thread(self.command, settings, "--user-id", "https://accounts.example.com/u/12")
        assert again.returncode == 0, again.stderr

    async def test_an_id_that_nobody_has_is_said_to_be_nobodys_each_time(
        self, api: Api, settings: AuthVerifySettings, people: People
    ) -> None:
        people.kept = {(service, "nosuch-sub"): 0 for service in OTHERS}
        for _ in range(2):
            done = await asyncio.to_thread(self.command, settings, "--user-id", "nosuch-sub")
            assert (done.returncode, done.stderr) == (1, "keepsake: Nobody has this id.\n")
        done = await asyncio.to_thread(self.command, settings, "--user-id", "")
        assert (done.returncode, done.stderr) == (1, "keepsake: There is no such user.\n")
