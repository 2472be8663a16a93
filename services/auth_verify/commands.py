"""The commands: `create-admin`, `erase`, and `rotate-keys`."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from services.auth_verify.adapters.argon2 import open_passwords
from services.auth_verify.adapters.memory import MemoryFailedLogins
from services.auth_verify.adapters.sql.sessions import SqlSessions
from services.auth_verify.adapters.sql.signing_keys import SealBroken, SqlSigningKeys
from services.auth_verify.adapters.sql.users import SqlUsers
from services.auth_verify.app import MIGRATIONS, NAME, build_eraser
from services.auth_verify.model import no_such_user
from services.auth_verify.schemas import Registration
from services.auth_verify.service.accounts import AccountService
from services.auth_verify.service.sessions import SessionService
from services.auth_verify.service.signing import KeyRing, SecretSigner
from services.auth_verify.service.throttle import LoginThrottle
from services.auth_verify.settings import AuthVerifySettings
from shared.auth.access_tokens import ADMIN
from shared.auth.revocations import open_revocations
from shared.auth.service_client import open_http_client
from shared.http.validation import refusal
from shared.names import name_key
from shared.persistence.engine import open_database
from shared.persistence.migrations import migrate
from shared.settings import load_settings
from shared.settings.command import run_command

NOT_YET = 3


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.auth_verify")
    commands = parser.add_subparsers(dest="command", required=True)
    create_admin = commands.add_parser("create-admin", help="register an admin; the password is read from stdin")
    create_admin.add_argument("--username", required=True)
    create_admin.add_argument("--email", required=True)
    erase = commands.add_parser("erase", help="erase a person in all services")
    person = erase.add_mutually_exclusive_group(required=True)
    person.add_argument("--username", help="somebody who registered here")
    person.add_argument("--user-id", help="the sub of somebody's tokens, also of another issuer's")
    commands.add_parser("rotate-keys", help="sign with the next key, and make a new next one")
    return parser.parse_args(arguments)


def _read_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().removesuffix("\n").removesuffix("\r")


async def _create_admin(settings: AuthVerifySettings, username: str, email: str) -> tuple[str, int]:
    try:
        admin = Registration(username=username, email=email, password=_read_password())
    except ValidationError as error:
        raise refusal(error) from None
    async with open_database(settings.database_url, settings.data_dir, NAME) as database, open_passwords() as passwords:
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        accounts = AccountService(SqlUsers(database), passwords, LoginThrottle(MemoryFailedLogins()))
        await accounts.register(admin.username, admin.email, admin.password, roles=(ADMIN,))
    return f"{admin.username} is an admin now.", 0


async def _erase(settings: AuthVerifySettings, username: str | None, user_id: str | None) -> tuple[str, int]:
    async with (
        open_database(settings.database_url, settings.data_dir, NAME) as database,
        open_revocations(settings.redis_url, settings.data_dir) as revocations,
        open_http_client() as http,
    ):
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        users = SqlUsers(database)
        user = await (users.find(name_key(username)) if username else users.get(user_id or ""))
        if user is None and not user_id:
            raise no_such_user()
        signer = SecretSigner(settings.jwt_secret_key)
        sessions = SessionService(settings, SqlSessions(database), users, signer, revocations)
        who = (user.id, user.username) if user else (user_id or "", "")
        left = await build_eraser(settings, database, sessions, http).erase(*who)
    if left:
        return f"It is written down and goes on while auth-verify runs. Not done yet: {', '.join(left)}.", NOT_YET
    return "Nothing is left of the person but what docs/privacy.md says.", 0


async def _rotate_keys(settings: AuthVerifySettings) -> tuple[str, int]:
    if settings.jwt_algorithm == "HS256":
        return "JWT_ALGORITHM is HS256: there are no keys to rotate. To change the secret, set JWT_SECRET_KEY.", 0
    async with open_database(settings.database_url, settings.data_dir, NAME) as database:
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        keys = KeyRing(SqlSigningKeys(database, settings.internal_secret), settings.jwt_algorithm)
        await keys.prepare()
        await keys.rotate()
    return "The next key is the current one now. The old one stays published until its tokens have expired.", 0


def main(arguments: Sequence[str]) -> int:
    """Do what `arguments` say, say what was done, and return the exit status.

    It is 1 with one sentence for a refusal, 2 where the tables cannot be used, 3 for an erasure that goes on.
    """
    chosen = _parse(arguments)
    settings = load_settings(AuthVerifySettings)
    work = {
        "create-admin": lambda: _create_admin(settings, chosen.username, chosen.email),
        "erase": lambda: _erase(settings, chosen.username, chosen.user_id),
        "rotate-keys": lambda: _rotate_keys(settings),
    }
    try:
        said, status = run_command(work[chosen.command]())
    except SealBroken as error:
        sys.stderr.write(f"keepsake: {error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return status
