"""docs/contract.md, "auth-verify": what a frontend may rely on, on the service's own port and through the gateway."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import jwt
import pytest

from shared.auth.access_tokens import sign_service_token
from tests.support.stack import Stack, running_stack
from tests.unit.services.auth_verify.api import PASSWORD, Api, SignedIn

ORGANIZATIONS = "/api/v1/organizations"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("auth-verify"), None, "auth-verify", "gateway") as both:
        yield both


@pytest.fixture(params=["port", "gateway"])
def base_url(request: pytest.FixtureRequest, processes: Stack) -> str:
    return processes.url("auth-verify" if request.param == "port" else "gateway")


@pytest.fixture
async def api(base_url: str) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield Api(http, base_url)


@pytest.fixture
async def alice(api: Api) -> SignedIn:
    return await api.signed_in()


@pytest.fixture
async def bob(api: Api) -> SignedIn:
    return await api.signed_in()


def new_name() -> str:
    return f"user-{secrets.token_hex(6)}"


class TestRegister:
    async def test_answers_201_with_the_user(self, api: Api) -> None:
        name = new_name()
        reply = await api.register(name)
        assert reply.status == 201
        assert set(reply.body) == {"id", "username", "email", "roles", "created_at"}
        assert (reply.body["username"], reply.body["email"]) == (name, f"{name}@example.org")
        assert reply.body["roles"] == []
        assert RFC3339.fullmatch(reply.body["created_at"])

    async def test_a_taken_name_or_email_is_409_user_exists(self, api: Api, alice: SignedIn) -> None:
        for name, email in ((alice.username.upper(), "new@x.org"), (new_name(), f"{alice.username}@example.org")):
            reply = await api.register(name, email=email)
            assert (reply.status, reply.body["code"]) == (409, "user_exists")

    async def test_of_fifty_at_once_one_gets_the_name(self, api: Api) -> None:
        name = new_name()
        replies = await asyncio.gather(*(api.register(name, email=f"{n}.{name}@x.org") for n in range(50)))
        assert sorted(reply.status for reply in replies) == [201] + [409] * 49

    async def test_a_password_under_12_or_over_256_is_422(self, api: Api) -> None:
        for length, status in ((11, 422), (12, 201), (256, 201), (257, 422)):
            assert (await api.register(new_name(), password="p" * length)).status == status

    async def test_a_missing_field_is_400(self, api: Api) -> None:
        assert (await api.post("/api/auth/register", {"username": new_name()})).status == 400


class TestLogin:
    @pytest.mark.parametrize("encoding", ["json", "data"])
    @pytest.mark.parametrize("by", ["username", "email"])
    async def test_takes_username_or_email_as_json_or_form(
        self, api: Api, alice: SignedIn, by: str, encoding: str
    ) -> None:
        who = alice.username if by == "username" else f"{alice.username}@example.org"
        sent: dict[str, Any] = {encoding: {by: who, "password": PASSWORD}}
        reply = await api.call("POST", "/api/auth/login/", **sent)
        assert reply.status == 200
        assert (reply.body["token_type"], reply.body["expires_in"]) == ("Bearer", 900)
        assert (await api.get("/api/auth/me", reply.body["access_token"])).status == 200

    async def test_is_401_in_one_sentence_whatever_was_wrong(self, api: Api, alice: SignedIn) -> None:
        replies = [await api.login(alice.username, "wrong password"), await api.login(new_name(), "wrong password")]
        assert [reply.status for reply in replies] == [401, 401]
        assert replies[0].body["error"] == replies[1].body["error"]

    async def test_failures_never_lock_the_owner_out(self, api: Api, alice: SignedIn) -> None:
        for _ in range(4):
            assert (await api.login(alice.username, "wrong password")).status == 401
        assert (await api.login(alice.username)).status == 200

    async def test_the_access_token_has_the_claims_listed(self, alice: SignedIn, processes: Stack) -> None:
        claims = jwt.decode(
            alice.token,
            processes.settings["JWT_SECRET_KEY"],
            algorithms=["HS256"],
            audience="keepsake",
            issuer="keepsake",
        )
        assert set(claims) == {"sub", "username", "roles", "iss", "aud", "iat", "exp", "jti", "sid"}
        assert claims["exp"] - claims["iat"] == 900


class TestRefreshAndLogout:
    async def test_a_refresh_token_is_rotated_at_each_use(self, api: Api, alice: SignedIn) -> None:
        first = await api.refresh(alice.refresh_token)
        assert first.status == 200
        assert set(first.body) == {"access_token", "token_type", "expires_in", "refresh_token"}
        second = await api.refresh(first.body["refresh_token"])
        assert second.status == 200
        assert len({alice.refresh_token, first.body["refresh_token"], second.body["refresh_token"]}) == 3

    async def test_fifty_at_once_get_the_same_successor(self, api: Api, alice: SignedIn) -> None:
        replies = await asyncio.gather(*(api.refresh(alice.refresh_token) for _ in range(50)))
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body["refresh_token"] for reply in replies}) == 1

    async def test_logout_is_204_and_ends_the_sessions_tokens(self, api: Api, alice: SignedIn) -> None:
        reply = await api.post("/api/auth/logout", {"refresh_token": alice.refresh_token})
        assert (reply.status, reply.body) == (204, b"")
        for path in ("/api/auth/me", "/api/auth/verify", ORGANIZATIONS):
            assert (await api.get(path, alice.token)).status == 401
        assert (await api.refresh(alice.refresh_token)).status == 401


class TestWhoTheCallerIs:
    async def test_me_answers_as_register_did(self, api: Api) -> None:
        registered = await api.register(new_name())
        token = (await api.login(registered.body["username"])).body["access_token"]
        assert (await api.get("/api/auth/me", token)).body == registered.body

    async def test_me_of_another_issuer_is_what_the_token_says(self, api: Api, processes: Stack) -> None:
        theirs = jwt.encode({"sub": "x|1", "username": "x", "exp": 4_000_000_000}, processes.settings["JWT_SECRET_KEY"])
        reply = await api.get("/api/auth/me", theirs)
        assert reply.status == 200
        assert (reply.body["id"], reply.body["username"], reply.body["email"]) == ("x|1", "x", None)

    async def test_verify_is_200_with_claims_and_x_user_id_or_401(self, api: Api, alice: SignedIn) -> None:
        reply = await api.get("/api/auth/verify", alice.token)
        assert (reply.status, reply.body["sub"], reply.headers["X-User-Id"]) == (200, alice.id, alice.id)
        assert (await api.get("/api/auth/verify", alice.token[:-4] + "AAAA")).status == 401
        assert (await api.get("/api/auth/verify")).status == 401

    async def test_introspection_takes_a_service_token(self, api: Api, alice: SignedIn, processes: Stack) -> None:
        service = sign_service_token(
            processes.settings["INTERNAL_SECRET"], caller="media-store", audience="auth-verify"
        )
        path = "/api/auth/introspect"
        reply = await api.call("POST", path, token=service, data={"token": alice.token})
        assert (reply.status, reply.body["active"], reply.body["sub"]) == (200, True, alice.id)
        reply = await api.call("POST", path, token=service, data={"token": "x"})
        assert (reply.status, reply.body) == (200, {"active": False})
        assert (await api.call("POST", path, token=alice.token, data={"token": alice.token})).status == 401

    async def test_jwks_is_empty_for_a_shared_secret(self, api: Api) -> None:
        assert (await api.get("/.well-known/jwks.json")).body == {"keys": []}

    async def test_create_admin_makes_one(self, api: Api, processes: Stack) -> None:
        name = new_name()
        command = [sys.executable, "-m", "services.auth_verify", "create-admin", "--username", name]
        await asyncio.to_thread(
            subprocess.run,
            [*command, "--email", f"{name}@example.org"],
            input=f"{PASSWORD}\n".encode(),
            env=processes.environment(),
            cwd=processes.folder,
            check=True,
            capture_output=True,
        )
        token = (await api.login(name)).body["access_token"]
        assert (await api.get("/api/auth/me", token)).body["roles"] == ["admin"]


class TestErasure:
    async def test_takes_the_password_and_ends_everything(self, api: Api, alice: SignedIn) -> None:
        async def leave(**body: str) -> int:
            return (await api.call("DELETE", "/api/auth/me/", token=alice.token, json=body)).status

        assert await leave() == 400
        assert await leave(password="not the password") == 403
        assert (await api.call("DELETE", "/api/auth/me", json={"password": PASSWORD})).status == 401
        assert (await api.get("/api/auth/me", alice.token)).status == 200
        assert await leave(password=PASSWORD) == 204
        assert (await api.get("/api/auth/me", alice.token)).status == 401
        assert (await api.refresh(alice.refresh_token)).status == 401
        assert (await api.login(alice.username)).status == 401


class TestUsers:
    @pytest.fixture
    def root(self, processes: Stack) -> str:
        """The token of an admin."""
        claims = {"sub": "root", "roles": ["admin"], "iss": "keepsake", "aud": "keepsake", "exp": 4_000_000_000}
        return jwt.encode(claims, processes.settings["JWT_SECRET_KEY"], "HS256")

    async def test_are_found_by_admins_and_disabled_with_all_their_sessions(
        self, api: Api, alice: SignedIn, root: str
    ) -> None:
        query = {"query": alice.username.upper(), "limit": "1"}
        found = await api.call("GET", "/api/admin/users/", token=root, params=query)
        assert (found.status, found.body["count"], found.body["next_cursor"]) == (200, 1, None)
        (user,) = found.body["users"]
        assert (user["id"], user["username"], user["roles"], user["disabled"]) == (alice.id, alice.username, [], False)
        assert RFC3339.fullmatch(user["created_at"])
        one = f"/api/admin/users/{alice.id}"
        disabled = await api.call("PATCH", one, token=root, json={"disabled": True})
        assert (disabled.status, disabled.body) == (200, {**user, "disabled": True})
        assert (await api.get("/api/auth/me", alice.token)).status == 401
        assert (await api.refresh(alice.refresh_token)).status == 401
        assert (await api.login(alice.username)).body["code"] == "invalid_credentials"
        enabled = await api.call("PATCH", one, token=root, json={"disabled": False})
        assert (enabled.status, enabled.body) == (200, user)
        assert (await api.login(alice.username)).status == 200

    async def test_the_last_admin_stays(self, api: Api, alice: SignedIn, root: str) -> None:
        made = await api.call("PATCH", f"/api/admin/users/{alice.id}", token=root, json={"roles": ["admin"]})
        assert (made.status, made.body["roles"]) == (200, ["admin"])
        replies, query = [], {"limit": "100"}
        while True:
            page = (await api.call("GET", "/api/admin/users", token=root, params=query)).body
            for user in page["users"]:
                if user["roles"]:
                    path = f"/api/admin/users/{user['id']}"
                    replies.append(await api.call("PATCH", path, token=root, json={"roles": []}))
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert [reply.status for reply in replies] == [200] * (len(replies) - 1) + [409]
        assert replies[-1].body["code"] == "last_admin"

    async def test_are_for_admins_alone(self, api: Api, alice: SignedIn, root: str) -> None:
        assert (await api.get("/api/admin/users")).status == 401
        assert (await api.get("/api/admin/users", alice.token)).status == 403
        one = f"/api/admin/users/{alice.id}"
        assert (await api.call("PATCH", one, token=alice.token, json={"roles": ["admin"]})).status == 403
        assert (await api.call("PATCH", one, token=root, json={"roles": ["king"]})).status == 422
        assert (await api.call("PATCH", "/api/admin/users/nobody", token=root, json={})).status == 404


class TestOrganizations:
    async def test_are_founded_listed_and_shown(self, api: Api, alice: SignedIn) -> None:
        reply = await api.post(ORGANIZATIONS, {"name": "Potters"}, alice.token)
        assert reply.status == 201
        assert {"id", "name", "created_at"} <= set(reply.body)
        assert RFC3339.fullmatch(reply.body["created_at"])
        listed = (await api.get(ORGANIZATIONS, alice.token)).body["organizations"]
        assert [one["id"] for one in listed] == [reply.body["id"]]
        shown = await api.get(f"{ORGANIZATIONS}/{reply.body['id']}/", alice.token)
        assert (shown.status, shown.body["name"]) == (200, "Potters")

    async def test_members_come_change_and_go(self, api: Api, alice: SignedIn, bob: SignedIn) -> None:
        members = f"{ORGANIZATIONS}/{await api.found(alice)}/members"
        added = await api.post(members, {"username": bob.username, "role": "member"}, alice.token)
        member = {"user_id": bob.id, "username": bob.username, "role": "member"}
        assert (added.status, added.body) == (201, member)
        listed = (await api.get(members, bob.token)).body["members"]
        assert listed == [{"user_id": alice.id, "username": alice.username, "role": "owner"}, member]
        changed = await api.call("PATCH", f"{members}/{bob.id}", token=alice.token, json={"role": "admin"})
        assert (changed.status, changed.body) == (200, {**member, "role": "admin"})
        removed = await api.call("DELETE", f"{members}/{bob.id}", token=alice.token)
        assert (removed.status, removed.body) == (204, b"")
        assert (await api.get(members, bob.token)).status == 404

    async def test_members_do_not_manage_and_strangers_see_nothing(
        self, api: Api, alice: SignedIn, bob: SignedIn
    ) -> None:
        organization = f"{ORGANIZATIONS}/{await api.found(alice)}"
        for path in (organization, f"{organization}/members"):
            assert (await api.get(path, bob.token)).status == 404
        await api.post(f"{organization}/members", {"user_id": bob.id, "role": "member"}, alice.token)
        reply = await api.post(f"{organization}/members", {"user_id": "x", "role": "member"}, bob.token)
        assert reply.status == 403

    async def test_the_last_owner_stays(self, api: Api, alice: SignedIn) -> None:
        path = f"{ORGANIZATIONS}/{await api.found(alice)}/members/{alice.id}"
        assert (await api.call("DELETE", path, token=alice.token)).status == 409
        assert (await api.call("PATCH", path, token=alice.token, json={"role": "member"})).status == 409

    async def test_a_malformed_id_is_404(self, api: Api, alice: SignedIn) -> None:
        assert (await api.get(f"{ORGANIZATIONS}/not-an-id", alice.token)).status == 404
