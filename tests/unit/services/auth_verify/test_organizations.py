from __future__ import annotations

import asyncio
from urllib.parse import quote

import jwt
import pytest

from tests.unit.services.auth_verify.api import JWT_SECRET, Api, Reply, SignedIn, service_token

ORGANIZATIONS = "/api/v1/organizations"
NOBODYS = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def owner(api: Api) -> SignedIn:
    return await api.signed_in("olga")


@pytest.fixture
async def other(api: Api) -> SignedIn:
    return await api.signed_in("peter")


@pytest.fixture
async def potters(api: Api, owner: SignedIn) -> str:
    return f"{ORGANIZATIONS}/{await api.found(owner)}"


async def add(api: Api, potters: str, by: SignedIn, who: SignedIn, role: str = "member") -> Reply:
    return await api.post(f"{potters}/members", {"user_id": who.id, "role": role}, by.token)


async def change(api: Api, potters: str, by: SignedIn, who: SignedIn, role: str) -> Reply:
    return await api.call("PATCH", f"{potters}/members/{who.id}", token=by.token, json={"role": role})


async def remove(api: Api, potters: str, by: SignedIn, who: SignedIn) -> Reply:
    return await api.call("DELETE", f"{potters}/members/{who.id}", token=by.token)


async def roles(api: Api, potters: str, by: SignedIn) -> dict[str, str]:
    reply = await api.get(f"{potters}/members", by.token)
    assert reply.status == 200
    return {member["username"]: member["role"] for member in reply.body["members"]}


class TestAnOrganization:
    async def test_is_founded_by_its_owner(self, api: Api, owner: SignedIn) -> None:
        reply = await api.post(ORGANIZATIONS, {"name": "Potters & Söhne"}, owner.token)
        assert reply.status == 201
        assert reply.body["name"] == "Potters & Söhne"
        assert reply.body["created_at"].endswith("Z")
        path = f"{ORGANIZATIONS}/{reply.body['id']}"
        assert (await api.get(path, owner.token)).body == reply.body
        members = (await api.get(f"{path}/members", owner.token)).body
        assert members == {"members": [{"user_id": owner.id, "username": "olga", "role": "owner"}]}

    async def test_is_listed_for_its_members_alone(self, api: Api, owner: SignedIn, other: SignedIn) -> None:
        first, second = await api.found(owner, "A"), await api.found(owner, "B")
        listed = (await api.get(ORGANIZATIONS, owner.token)).body["organizations"]
        assert [(one["id"], one["name"], one["role"]) for one in listed] == [
            (first, "A", "owner"),
            (second, "B", "owner"),
        ]
        assert (await api.get(ORGANIZATIONS, other.token)).body == {"organizations": []}

    async def test_does_not_exist_for_strangers(self, api: Api, owner: SignedIn, other: SignedIn, potters: str) -> None:
        admins_token = jwt.encode(
            {"sub": "root", "roles": ["admin"], "iss": "keepsake", "aud": "keepsake", "exp": 4_000_000_000}, JWT_SECRET
        )
        root = SignedIn("root", "root", admins_token, "")
        for stranger in (other, root):
            nobodys = f"{ORGANIZATIONS}/{NOBODYS}"
            for path in (potters, nobodys):
                replies = [
                    await api.get(path, stranger.token),
                    await api.get(f"{path}/members", stranger.token),
                    await add(api, path, stranger, stranger, "owner"),
                    await change(api, path, stranger, owner, "member"),
                    await remove(api, path, stranger, owner),
                    await remove(api, path, stranger, stranger),
                ]
                assert {(reply.status, reply.body["code"]) for reply in replies} == {(404, "organization_not_found")}
        assert await roles(api, potters, owner) == {"olga": "owner"}

    async def test_a_malformed_id_is_not_found(self, api: Api, owner: SignedIn) -> None:
        for name in ("x", "%00", "%ED%A0%80", NOBODYS.replace("-", ""), "a" * 36, "é", "{" + NOBODYS + "}"):
            reply = await api.get(f"{ORGANIZATIONS}/{name}", owner.token)
            assert reply.status == 404

    async def test_needs_a_name(self, api: Api, owner: SignedIn) -> None:
        assert (await api.post(ORGANIZATIONS, {}, owner.token)).status == 400
        for name in ("", " ", "a\x00b", "n" * 201, 7):
            assert (await api.post(ORGANIZATIONS, {"name": name}, owner.token)).status == 422

    async def test_needs_a_token(self, api: Api, potters: str) -> None:
        assert (await api.post(ORGANIZATIONS, {"name": "A"})).status == 401
        assert (await api.get(potters)).status == 401


class TestAddingMembers:
    async def test_by_user_id_or_by_username(self, api: Api, owner: SignedIn, other: SignedIn, potters: str) -> None:
        third = await api.signed_in("quentin")
        by_id = await add(api, potters, owner, other)
        assert (by_id.status, by_id.body) == (201, {"user_id": other.id, "username": "peter", "role": "member"})
        by_name = await api.post(f"{potters}/members", {"username": "QUENTIN", "role": "admin"}, owner.token)
        assert (by_name.status, by_name.body) == (
            201,
            {"user_id": third.id, "username": "quentin", "role": "admin"},
        )
        assert await roles(api, potters, other) == {"olga": "owner", "peter": "member", "quentin": "admin"}

    async def test_of_another_issuer_by_id(self, api: Api, owner: SignedIn, potters: str) -> None:
        reply = await api.post(f"{potters}/members", {"user_id": "auth0|7", "role": "member"}, owner.token)
        assert (reply.status, reply.body["username"]) == (201, "auth0|7")
        theirs = jwt.encode({"sub": "auth0|7", "exp": 4_000_000_000}, JWT_SECRET)
        assert (await api.get(potters, theirs)).status == 200
        assert (await api.call("DELETE", f"{potters}/members/auth0%7C7", token=theirs)).status == 204

    async def test_whoever_is_added_can_be_taken_out_again(self, api: Api, owner: SignedIn, potters: str) -> None:
        for user_id in ("auth0|7", "a b", "山田", "a.b", ".a.", "#?&=+", "a\u200db", "ı"):
            reply = await api.post(f"{potters}/members", {"user_id": user_id, "role": "member"}, owner.token)
            assert reply.status == 201, user_id
            member = f"{potters}/members/{quote(user_id, safe='')}"
            assert (await api.call("DELETE", member, token=owner.token)).status == 204, user_id

    async def test_who_could_not_be_named_as_a_member_founds_nothing(self, api: Api) -> None:
        token = jwt.encode({"sub": "https://accounts.example.com/u/12", "exp": 4_000_000_000}, JWT_SECRET)
        reply = await api.post(ORGANIZATIONS, {"name": "Potters"}, token)
        assert (reply.status, reply.body["code"]) == (422, "user_id_not_allowed")
        assert (await api.get(ORGANIZATIONS, token)).body == {"organizations": []}

    async def test_an_unknown_name_is_not_found_and_an_email_is_no_name(
        self, api: Api, owner: SignedIn, other: SignedIn, potters: str
    ) -> None:
        for name in ("nobody", "peter@example.org"):
            reply = await api.post(f"{potters}/members", {"username": name, "role": "member"}, owner.token)
            assert (reply.status, reply.body["code"]) == (404, "user_not_found")

    async def test_twice_is_a_conflict(self, api: Api, owner: SignedIn, other: SignedIn, potters: str) -> None:
        replies = await asyncio.gather(*(add(api, potters, owner, other) for _ in range(10)))
        assert sorted(reply.status for reply in replies) == [201] + [409] * 9
        assert {reply.body["code"] for reply in replies if reply.status == 409} == {"already_member"}

    async def test_is_refused_without_who_or_role(self, api: Api, owner: SignedIn, potters: str) -> None:
        path = f"{potters}/members"
        for body in ({}, {"role": "member"}, {"user_id": "a"}, {"username": "a"}):
            assert (await api.post(path, body, owner.token)).status == 400
        for body in (
            {"user_id": "a", "role": "king"},
            {"user_id": "", "role": "member"},
            {"user_id": "a\x00", "role": "member"},
            {"user_id": "..", "role": "member"},
            {"user_id": "https://accounts.example.com/u/12", "role": "member"},
            {"user_id": "a..b", "role": "member"},
            {"user_id": "{x}", "role": "member"},
            {"user_id": "a;b", "role": "member"},
            {"user_id": "50%", "role": "member"},
            {"user_id": "a\u202eb", "role": "member"},
            {"user_id": "a" * 256, "role": "member"},
            {"username": "a\x00", "role": "member"},
            {"username": "", "role": "member"},
        ):
            assert (await api.post(path, body, owner.token)).status == 422

    async def test_is_for_managers_and_owners_for_owners(
        self, api: Api, owner: SignedIn, other: SignedIn, potters: str
    ) -> None:
        third, fourth = await api.signed_in(), await api.signed_in()
        await add(api, potters, owner, other, "admin")
        await add(api, potters, owner, third, "member")
        assert (await add(api, potters, third, fourth)).status == 403
        assert (await add(api, potters, other, fourth, "owner")).status == 403
        assert (await add(api, potters, other, fourth, "admin")).status == 201

    async def test_a_member_learns_nothing_about_users(
        self, api: Api, owner: SignedIn, other: SignedIn, potters: str
    ) -> None:
        await add(api, potters, owner, other)
        for name in ("olga", "nobody"):
            reply = await api.post(f"{potters}/members", {"username": name, "role": "member"}, other.token)
            assert reply.status == 403


class TestChangingMembers:
    async def test_a_manager_changes_roles(self, api: Api, owner: SignedIn, other: SignedIn, potters: str) -> None:
        await add(api, potters, owner, other)
        reply = await change(api, potters, owner, other, "admin")
        assert (reply.status, reply.body) == (200, {"user_id": other.id, "username": "peter", "role": "admin"})
        assert await roles(api, potters, owner) == {"olga": "owner", "peter": "admin"}

    async def test_an_admin_neither_makes_nor_touches_owners(
        self, api: Api, owner: SignedIn, other: SignedIn, potters: str
    ) -> None:
        await add(api, potters, owner, other, "admin")
        assert (await change(api, potters, other, other, "owner")).status == 403
        assert (await change(api, potters, other, owner, "member")).status == 403
        assert (await remove(api, potters, other, owner)).status == 403
        assert (await change(api, potters, other, other, "member")).status == 200

    async def test_members_change_nothing_but_may_leave(
        self, api: Api, owner: SignedIn, other: SignedIn, potters: str
    ) -> None:
        await add(api, potters, owner, other)
        assert (await change(api, potters, other, other, "admin")).status == 403
        assert (await remove(api, potters, other, owner)).status == 403
        assert (await remove(api, potters, other, other)).status == 204
        assert (await api.get(potters, other.token)).status == 404

    async def test_whoever_is_removed_is_a_stranger(
        self, api: Api, owner: SignedIn, other: SignedIn, potters: str
    ) -> None:
        await add(api, potters, owner, other)
        assert (await remove(api, potters, owner, other)).status == 204
        assert (await api.get(potters, other.token)).status == 404
        assert (await remove(api, potters, owner, other)).body["code"] == "member_not_found"
        assert (await change(api, potters, owner, other, "admin")).body["code"] == "member_not_found"

    async def test_the_last_owner_stays(self, api: Api, owner: SignedIn, other: SignedIn, potters: str) -> None:
        await add(api, potters, owner, other, "admin")
        for reply in (await change(api, potters, owner, owner, "admin"), await remove(api, potters, owner, owner)):
            assert (reply.status, reply.body["code"]) == (409, "last_owner")
        assert (await change(api, potters, owner, other, "owner")).status == 200
        assert (await remove(api, potters, owner, owner)).status == 204
        assert (await remove(api, potters, other, other)).status == 409

    async def test_an_owner_stays_however_many_go_at_once(self, api: Api, owner: SignedIn, potters: str) -> None:
        owners = [owner]
        for number in range(9):
            token = jwt.encode({"sub": f"o{number}", "exp": 4_000_000_000}, JWT_SECRET)
            owners.append(SignedIn(f"o{number}", f"o{number}", token, ""))
            assert (await add(api, potters, owner, owners[-1], "owner")).status == 201
        goings = [remove(api, potters, one, one) for one in owners]
        demotions = [change(api, potters, one, one, "member") for one in owners]
        replies = await asyncio.gather(*goings, *demotions, *(remove(api, potters, owner, one) for one in owners))
        assert all(reply.status < 500 for reply in replies)
        assert any(
            (reply.status, reply.body["code"]) == (409, "last_owner") for reply in replies if reply.status == 409
        )
        answers = [await api.get(f"{potters}/members", one.token) for one in owners]
        [members, *_] = [answer.body["members"] for answer in answers if answer.status == 200]
        assert [member["role"] for member in members].count("owner") >= 1

    async def test_a_role_must_be_one_of_the_three(self, api: Api, owner: SignedIn, potters: str) -> None:
        path = f"{potters}/members/{owner.id}"
        assert (await api.call("PATCH", path, token=owner.token, json={})).status == 400
        assert (await api.call("PATCH", path, token=owner.token, json={"role": "king"})).status == 422


class TestBetweenServices:
    async def test_a_service_is_told_a_members_role(
        self, api: Api, owner: SignedIn, other: SignedIn, potters: str
    ) -> None:
        path = f"/internal/organizations/{potters.rsplit('/', 1)[1]}/members/"
        assert (await api.get(path + owner.id, service_token())).body == {"role": "owner"}
        assert (await api.get(path + other.id, service_token())).status == 404
        assert (await api.get(f"/internal/organizations/{NOBODYS}/members/x", service_token())).status == 404
        assert (await api.get("/internal/organizations/%00/members/%00", service_token())).status == 404

    async def test_nobody_else_is(self, api: Api, owner: SignedIn, potters: str) -> None:
        path = f"/internal/organizations/{potters.rsplit('/', 1)[1]}/members/{owner.id}"
        for token in (owner.token, service_token("checkout"), None):
            assert (await api.get(path, token)).status == 401
