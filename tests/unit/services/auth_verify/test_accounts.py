from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import jwt
import sqlalchemy as sa
from argon2 import PasswordHasher

from services.auth_verify.adapters.sql.tables import USERS
from services.auth_verify.settings import AuthVerifySettings
from shared.persistence.engine import open_database
from tests.unit.services.auth_verify.api import INTERNAL_SECRET, JWT_SECRET, PASSWORD, Api, service_token

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def foreign_token(**claims: object) -> str:
    """Sign a token as somebody else does who knows the shared secret: without `iss` and `aud`."""
    return jwt.encode({"exp": 4_000_000_000, **claims}, JWT_SECRET, "HS256")


class TestRegistering:
    async def test_answers_the_new_user(self, api: Api) -> None:
        reply = await api.register("Alice", email="Alice@example.org")
        assert reply.status == 201
        assert UUID.fullmatch(reply.body.pop("id"))
        created_at = reply.body.pop("created_at")
        assert created_at.endswith("Z")
        assert abs((datetime.fromisoformat(created_at) - datetime.now(UTC)).total_seconds()) < 60
        assert reply.body == {"username": "Alice", "email": "Alice@example.org", "roles": []}

    async def test_a_taken_name_or_email_in_any_spelling_is_a_conflict(self, api: Api) -> None:
        await api.register("alice")
        for username, email in (
            ("alice", "other@example.org"),
            ("ALICE", "other@example.org"),
            ("ａｌｉｃｅ", "other@example.org"),
            ("bob", "alice@example.org"),
            ("bob", "ALICE@Example.Org"),
            ("alice@example.org", "other@example.org"),
            ("bob", "ALICE@example.org"),
        ):
            reply = await api.register(username, email=email)
            assert (reply.status, reply.body["code"]) == (409, "user_exists")
        assert (await api.register("bob", email="other@example.org")).status == 201

    async def test_an_email_may_be_its_owners_username(self, api: Api) -> None:
        assert (await api.register("alice@example.org", email="alice@example.org")).status == 201
        assert (await api.login("alice@example.org")).status == 200

    async def test_of_fifty_at_once_for_one_name_one_wins(self, api: Api) -> None:
        replies = await asyncio.gather(*(api.register("alice", email=f"a{n}@example.org") for n in range(50)))
        assert sorted(reply.status for reply in replies) == [201] + [409] * 49

    async def test_the_shortest_and_longest_passwords_work(self, api: Api) -> None:
        for username, password in (("alice", "p" * 12), ("bob", "p" * 256)):
            assert (await api.register(username, password=password)).status == 201
            assert (await api.login(username, password)).status == 200

    async def test_any_spelling_of_a_password_lets_its_owner_in(self, api: Api) -> None:
        await api.register("alice", password="Pässwörd ﬁrst Ⅷ")
        for password in ("Pa\u0308sswo\u0308rd ﬁrst Ⅷ", "Pässwörd first VIII"):
            assert (await api.login("alice", password)).status == 200
        assert (await api.login("alice", "pässwörd first viii")).status == 401

    async def test_a_password_is_measured_in_the_spelling_that_counts(self, api: Api) -> None:
        assert (await api.register("alice", password="e\u0301" * 11)).status == 422
        assert (await api.register("alice", password="e\u0301" * 12)).status == 201

    async def test_a_password_too_short_or_long_is_refused_unseen(self, api: Api) -> None:
        for password in ("q" * 11, "q" * 257, ""):
            reply = await api.register("alice", password=password)
            assert reply.status == 422
            assert [error["field"] for error in reply.body["errors"]] == ["password"]
            assert "qqq" not in str(reply.body)

    async def test_a_password_keeps_its_spaces_and_controls(self, api: Api) -> None:
        strange = " \x00é\u0065\u0301 ﬁ pässwörd "
        assert (await api.register("alice", password=strange)).status == 201
        assert (await api.login("alice", strange)).status == 200
        assert (await api.login("alice", strange.strip())).status == 401

    async def test_a_username_that_could_not_be_a_folder_is_refused(self, api: Api) -> None:
        bad = (
            "",
            ".hidden",
            "..",
            "a/b",
            "a\\b",
            "a;b",
            "a%2e",
            "a\x00b",
            "a\nb",
            "a\x7fb",
            "a\u202eb",
            "a..b",
            "{x}",
            "a\uff0fb",
            "a\u2024.b",
            "\u2025",
            "\u200dab",
            "a\u00adb",
            " a",
            "a ",
            "n" * 151,
        )
        for username in bad:
            reply = await api.register(username, email="a@example.org")
            assert (reply.status, reply.body["code"]) == (422, "invalid_value"), username

    async def test_other_usernames_are_taken_and_can_sign_in(self, api: Api) -> None:
        for number, username in enumerate(
            ("n" * 150, "Zoë van der Berg", "山田", "a.b_c-d+e@f", "🚀", "👩‍💻", "می‌خواهم", "a.", "#?&=")
        ):
            assert (await api.register(username, email=f"{number}@example.org")).status == 201
            assert (await api.login(username)).status == 200

    async def test_a_username_that_grows_beyond_measure_is_refused(self, api: Api) -> None:
        assert (await api.register("\ufdfa" * 150, email="a@example.org")).status == 422

    async def test_what_is_no_email_is_refused(self, api: Api) -> None:
        for email in ("", "a", "a@", "@b.org", "a b@c.org", "a@b@c", "a@b..c", "a@b\x00", "a@" + "b" * 253):
            body = {"username": "alice", "email": email, "password": PASSWORD}
            assert (await api.post("/api/auth/register", body)).status == 422, email

    async def test_a_missing_field_is_named(self, api: Api) -> None:
        whole = {"username": "alice", "email": "a@example.org", "password": PASSWORD}
        for field in whole:
            reply = await api.post(
                "/api/auth/register", {name: value for name, value in whole.items() if name != field}
            )
            assert reply.status == 400
            assert field in reply.body["error"]

    async def test_nobody_makes_himself_an_admin(self, api: Api) -> None:
        body = {"username": "eve", "email": "e@example.org", "password": PASSWORD, "roles": ["admin"], "id": "1"}
        assert (await api.post("/api/auth/register", body)).body["roles"] == []

    async def test_an_unreadable_body_is_a_bad_request(self, api: Api) -> None:
        headers = {"Content-Type": "application/json"}
        for body in (b"", b"{", b"[]", b'"x"', b'{"username":"\\ud800"}', b"\xff", b"null"):
            assert (await api.call("POST", "/api/auth/register", data=body, headers=headers)).status == 400


class TestSigningIn:
    async def test_by_username_or_email_in_json_or_a_form(self, api: Api) -> None:
        await api.register("alice")
        for who in (
            {"username": "ALICE"},
            {"username": "ａlice"},
            {"email": "alice@example.org"},
            {"username": "alice@EXAMPLE.org"},
        ):
            for encoding in ("json", "data"):
                sent: dict[str, Any] = {encoding: {**who, "password": PASSWORD}}
                reply = await api.call("POST", "/api/auth/login", **sent)
                assert reply.status == 200
                assert set(reply.body) == {"access_token", "token_type", "expires_in", "refresh_token"}
                assert (reply.body["token_type"], reply.body["expires_in"]) == ("Bearer", 900)
                assert reply.headers["Cache-Control"] == "no-store"

    async def test_the_token_says_what_the_contract_lists(self, api: Api) -> None:
        user = await api.signed_in("alice")
        claims = jwt.decode(user.token, JWT_SECRET, algorithms=["HS256"], audience="keepsake", issuer="keepsake")
        assert set(claims) == {"sub", "username", "roles", "iss", "aud", "iat", "exp", "jti", "sid"}
        assert (claims["sub"], claims["username"], claims["roles"]) == (user.id, "alice", [])
        assert claims["exp"] - claims["iat"] == 900

    async def test_what_was_wrong_is_not_told(self, api: Api) -> None:
        await api.register("alice")
        for name in ("alice", "nobody", "\x00", "x" * 5000, "a@b.org"):
            reply = await api.login(name, "not the password")
            assert (reply.status, reply.body["code"]) == (401, "invalid_credentials")
            assert reply.body["error"] == "The username or password is not right."
            assert reply.headers["WWW-Authenticate"] == "Bearer"

    async def test_a_hash_of_the_password_as_typed_is_made_anew(self, api: Api, settings: AuthVerifySettings) -> None:
        """As they were made before passwords were normalised."""
        composed, typed = "Pässwörd first", "Pa\u0308sswo\u0308rd first"
        await api.register("alice")
        async with open_database(settings.database_url, settings.data_dir, "auth-verify") as database:
            old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(typed)
            async with database.begin() as connection:
                await connection.execute(sa.update(USERS).values(password_hash=old))
        assert [(await api.login("alice", password)).status for password in (composed, typed)] == [401, 200]
        assert [(await api.login("alice", password)).status for password in (composed, typed)] == [200, 200]

    async def test_a_missing_field_is_a_bad_request(self, api: Api) -> None:
        for body in (
            {},
            {"username": "a"},
            {"password": PASSWORD},
            {"username": "", "password": "b"},
            {"email": "a", "password": ""},
        ):
            for encoding in ("json", "data"):
                sent: dict[str, Any] = {encoding: body}
                assert (await api.call("POST", "/api/auth/login", **sent)).status == 400

    async def test_an_unreadable_form_is_a_bad_request(self, api: Api) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for form in (b"username=%ff&password=x", b"&".join([b"a=1"] * 50), b"\xff"):
            assert (await api.call("POST", "/api/auth/login", data=form, headers=headers)).status == 400

    async def test_fifty_at_once_all_get_in(self, api: Api) -> None:
        await api.register("alice")
        replies = await asyncio.gather(*(api.login("alice") for _ in range(50)))
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body["refresh_token"] for reply in replies}) == 50


class TestTheCaller:
    async def test_is_answered_as_at_registration(self, api: Api) -> None:
        registered = await api.register("alice")
        token = (await api.login("alice")).body["access_token"]
        reply = await api.get("/api/auth/me", token)
        assert (reply.status, reply.body) == (200, registered.body)

    async def test_of_another_issuer_is_what_the_token_says(self, api: Api) -> None:
        reply = await api.get("/api/auth/me", foreign_token(sub="auth0|7", username="bob", roles=["admin"]))
        assert reply.body == {"id": "auth0|7", "username": "bob", "email": None, "roles": [], "created_at": None}

    async def test_without_a_name_is_called_by_its_subject(self, api: Api) -> None:
        assert (await api.get("/api/auth/me", foreign_token(sub="u7"))).body["username"] == "u7"

    async def test_needs_a_token(self, api: Api) -> None:
        reply = await api.get("/api/auth/me")
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
        reply = await api.get("/api/auth/me", "rubbish")
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')


class TestVerifying:
    async def test_answers_the_claims_and_the_user_id(self, api: Api) -> None:
        user = await api.signed_in()
        reply = await api.get("/api/auth/verify", user.token)
        assert reply.status == 200
        assert reply.body["sub"] == reply.headers["X-User-Id"] == user.id
        assert reply.body["username"] == user.username

    async def test_the_header_holds_any_user_id_safely(self, api: Api) -> None:
        for subject, header in {"a b": "a%20b", "zoë": "zo%C3%AB", "50%": "50%25", "auth0|7": "auth0|7"}.items():
            reply = await api.get("/api/auth/verify", foreign_token(sub=subject))
            assert (reply.body["sub"], reply.headers["X-User-Id"]) == (subject, header)

    async def test_a_bad_token_is_401(self, api: Api) -> None:
        assert (await api.get("/api/auth/verify", foreign_token(sub="a", exp=1))).status == 401
        assert (await api.get("/api/auth/verify")).status == 401


class TestIntrospection:
    async def test_tells_a_service_the_claims_of_an_active_token(self, api: Api) -> None:
        user = await api.signed_in()
        reply = await api.call("POST", "/api/auth/introspect", token=service_token(), data={"token": user.token})
        assert reply.status == 200
        assert (reply.body["active"], reply.body["sub"]) == (True, user.id)

    async def test_tells_nothing_of_any_other(self, api: Api) -> None:
        user = await api.signed_in()
        await api.post("/api/auth/logout", {"refresh_token": user.refresh_token})
        for token in ("rubbish", user.token, user.refresh_token, foreign_token(sub="..")):
            reply = await api.call("POST", "/api/auth/introspect", token=service_token(), data={"token": token})
            assert (reply.status, reply.body) == (200, {"active": False})

    async def test_without_a_token_field_is_a_bad_request(self, api: Api) -> None:
        wrong: tuple[dict[str, Any], ...] = ({"data": {}}, {"json": {"token": "x"}}, {"data": {"token": ""}})
        for options in wrong:
            assert (await api.call("POST", "/api/auth/introspect", token=service_token(), **options)).status == 400

    async def test_is_for_services_alone(self, api: Api) -> None:
        user = await api.signed_in()
        others = (user.token, service_token("media-store"), service_token(secret=INTERNAL_SECRET + "x"), None)
        for token in others:
            reply = await api.call("POST", "/api/auth/introspect", token=token, data={"token": user.token})
            assert reply.status == 401
