from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import jwt
import pytest

from services.auth_verify.app import build_app
from services.auth_verify.settings import AuthVerifySettings
from tests.support.serving import ServeApp
from tests.unit.services.auth_verify.api import PASSWORD, Api

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[4]


async def run(settings: AuthVerifySettings, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Run a command as a process of its own; give its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.auth_verify",
        *arguments,
        cwd=settings.data_dir,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(settings.data_dir),
            "DATABASE_URL": settings.database_url,
            "JWT_SECRET_KEY": settings.jwt_secret_key,
            "JWT_ALGORITHM": settings.jwt_algorithm,
            "INTERNAL_SECRET": settings.internal_secret,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(stdin.encode())
    return process.returncode or 0, said.decode()


def create_admin(username: str, email: str) -> tuple[str, ...]:
    return "create-admin", "--username", username, "--email", email


class TestCreateAdmin:
    async def test_makes_an_admin_whose_token_says_so_before_the_first_start(
        self, settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession
    ) -> None:
        status, said = await run(settings, *create_admin("root", "root@example.org"), stdin=PASSWORD + "\n")
        assert (status, said) == (0, "root is an admin now.\n")
        api = Api(http, await serve_app(build_app(settings)))
        token = (await api.login("root")).body["access_token"]
        assert jwt.decode(token, options={"verify_signature": False})["roles"] == ["admin"]
        assert (await api.get("/api/auth/me", token)).body["roles"] == ["admin"]

    async def test_refuses_a_taken_name_and_a_short_password_in_one_sentence(
        self, settings: AuthVerifySettings, api: Api
    ) -> None:
        await api.register("alice")
        status, said = await run(settings, *create_admin("Alice", "x@example.org"), stdin=PASSWORD)
        assert (status, said) == (1, "keepsake: This username or email is already taken.\n")
        status, said = await run(settings, *create_admin("root", "root@example.org"), stdin="hunter2\n")
        assert status == 1
        assert "password" in said
        assert "hunter2" not in said
        assert said.count("\n") == 1


class TestRotateKeys:
    @pytest.mark.parametrize("algorithm", ["ES256"])
    async def test_a_running_service_accepts_old_and_new_tokens(
        self, settings: AuthVerifySettings, serve_app: ServeApp, http: aiohttp.ClientSession, algorithm: str
    ) -> None:
        settings = settings.model_copy(update={"jwt_algorithm": algorithm})
        api = Api(http, await serve_app(build_app(settings)))
        user = await api.signed_in()
        assert (await run(settings, "rotate-keys"))[0] == 0
        restarted = Api(http, await serve_app(build_app(settings)))
        renewed = (await restarted.refresh(user.refresh_token)).body["access_token"]
        assert jwt.get_unverified_header(renewed)["kid"] != jwt.get_unverified_header(user.token)["kid"]
        for one in (api, restarted):
            for token in (user.token, renewed):
                assert (await one.get("/api/auth/verify", token)).status == 200
        assert len((await restarted.get("/.well-known/jwks.json")).body["keys"]) == 3

    @pytest.mark.parametrize("settings", ["embedded"], indirect=True)
    async def test_a_shared_secret_has_nothing_to_rotate(self, settings: AuthVerifySettings) -> None:
        status, said = await run(settings, "rotate-keys")
        assert status == 0
        assert "HS256" in said

    @pytest.mark.parametrize("settings", ["embedded"], indirect=True)
    async def test_an_unknown_command_is_refused(self, settings: AuthVerifySettings) -> None:
        assert (await run(settings, "drop-everything"))[0] == 2
