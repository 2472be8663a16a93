"""The commands: `create-admin`, and `rotate-keys`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from services.auth_verify.adapters.argon2 import open_passwords
from services.auth_verify.adapters.memory import MemoryFailedLogins
from services.auth_verify.adapters.sql.signing_keys import SealBroken, SqlSigningKeys
from services.auth_verify.adapters.sql.users import SqlUsers
from services.auth_verify.app import MIGRATIONS, NAME
from services.auth_verify.schemas import Registration
from services.auth_verify.service import AccountService, KeyRing, LoginThrottle
from services.auth_verify.settings import Settings
from shared.auth.access_tokens import ADMIN
from shared.errors import KeepsakeError
from shared.http.validation import refusal
from shared.persistence.engine import migrate, open_database
from shared.settings import load_settings


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.auth_verify")
    commands = parser.add_subparsers(dest="command", required=True)
    create_admin = commands.add_parser("create-admin", help="register an admin; the password is read from stdin")
    create_admin.add_argument("--username", required=True)
    create_admin.add_argument("--email", required=True)
    commands.add_parser("rotate-keys", help="sign with the next key, and make a new next one")
    return parser.parse_args(arguments)


def _read_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().removesuffix("\n").removesuffix("\r")


async def _create_admin(settings: Settings, username: str, email: str) -> str:
    try:
        admin = Registration(username=username, email=email, password=_read_password())
    except ValidationError as error:
        raise refusal(error) from None
    async with open_database(settings.database_url, settings.data_dir, NAME) as database, open_passwords() as passwords:
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        accounts = AccountService(SqlUsers(database), passwords, LoginThrottle(MemoryFailedLogins()))
        await accounts.register(admin.username, admin.email, admin.password, roles=(ADMIN,))
    return f"{admin.username} is an admin now."


async def _rotate_keys(settings: Settings) -> str:
    if settings.jwt_algorithm == "HS256":
        return "JWT_ALGORITHM is HS256: there are no keys to rotate. To change the secret, set JWT_SECRET_KEY."
    async with open_database(settings.database_url, settings.data_dir, NAME) as database:
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        keys = KeyRing(SqlSigningKeys(database, settings.internal_secret), settings.jwt_algorithm)
        await keys.prepare()
        await keys.rotate()
    return "The next key is the current one now. The old one stays published until its tokens have expired."


def run_command(arguments: Sequence[str]) -> int:
    """Do what `arguments` say, say what was done, and return the exit status: 1 with one sentence for a refusal."""
    chosen = _parse(arguments)
    settings = load_settings(Settings)
    work = (
        _rotate_keys(settings)
        if chosen.command == "rotate-keys"
        else _create_admin(settings, chosen.username, chosen.email)
    )
    try:
        sys.stdout.write(f"{asyncio.run(work)}\n")
    except KeepsakeError as error:
        sys.stderr.write(f"keepsake: {error.sentence}\n")
        return 1
    except SealBroken as error:
        sys.stderr.write(f"keepsake: {error}\n")
        return 1
    return 0
