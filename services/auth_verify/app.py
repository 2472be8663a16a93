"""The composition root: opens every resource in one block, and builds the app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from services.auth_verify.adapters.argon2 import open_passwords
from services.auth_verify.adapters.http import HttpPeople
from services.auth_verify.adapters.memory import MemoryFailedLogins
from services.auth_verify.adapters.sql.erasures import SqlErasures
from services.auth_verify.adapters.sql.organizations import SqlOrganizations
from services.auth_verify.adapters.sql.sessions import SqlSessions
from services.auth_verify.adapters.sql.signing_keys import SqlSigningKeys
from services.auth_verify.adapters.sql.users import SqlUsers
from services.auth_verify.handlers import ROUTES
from services.auth_verify.handlers.app_keys import ACCOUNTS, ORGANIZATIONS, PERSON_ERASER, SESSIONS, SIGNER
from services.auth_verify.ports import FailedLogins
from services.auth_verify.service.accounts import AccountService
from services.auth_verify.service.erasure import PersonEraser
from services.auth_verify.service.organizations import OrganizationService
from services.auth_verify.service.sessions import SessionService
from services.auth_verify.service.signing import KeyRing, SecretSigner, TokenSigner
from services.auth_verify.service.throttle import LoginThrottle
from services.auth_verify.settings import AuthVerifySettings
from shared.app.factory import base_app
from shared.app.middleware import CHECKS
from shared.app.routes import ServiceInfo
from shared.auth.access_tokens import SERVICE_GUARD, VERIFIER, KeySource, ServiceGuard, SharedSecret, TokenVerifier
from shared.auth.revocations import open_revocations
from shared.auth.service_client import ServiceClient, open_http_client
from shared.clock import utc_now
from shared.concurrency.periodic import work_periodically, working
from shared.persistence.engine import Database, open_database
from shared.persistence.migrations import migrate

NAME = "auth-verify"
ERASURES_S = 10.0
INFO = ServiceInfo(NAME, "Users, their access and refresh tokens, and organizations")
MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def _open_failed_logins(redis_url: str, app: web.Application) -> AsyncIterator[FailedLogins]:
    if not redis_url:
        yield MemoryFailedLogins()
        return
    # Imported only where there is a Redis: redis-py takes a tenth of a second of the start.
    from services.auth_verify.adapters.redis import open_redis_failed_logins  # noqa: PLC0415

    async with open_redis_failed_logins(redis_url) as failures:
        app[CHECKS]["redis"] = failures.check
        yield failures


async def _prepare_keys(settings: AuthVerifySettings, database: Database) -> tuple[TokenSigner, KeySource]:
    if settings.jwt_algorithm == "HS256":
        return SecretSigner(settings.jwt_secret_key), SharedSecret(settings.jwt_secret_key)
    ring = KeyRing(SqlSigningKeys(database, settings.internal_secret), settings.jwt_algorithm)
    await ring.prepare()
    return ring, ring


def build_eraser(
    settings: AuthVerifySettings, database: Database, sessions: SessionService, http: aiohttp.ClientSession
) -> PersonEraser:
    """Build what erases people, here and in the services that know them."""
    client = partial(ServiceClient, http, caller=NAME, secret=settings.internal_secret)
    others = [HttpPeople(client(urls, name=name), name) for name, urls in settings.people_urls.items()]
    return PersonEraser(SqlErasures(database), sessions.end_all, others, utc_now)


async def _resources(settings: AuthVerifySettings, app: web.Application) -> AsyncIterator[None]:
    async with (
        open_database(settings.database_url, settings.data_dir, NAME) as database,
        _open_failed_logins(settings.redis_url, app) as failures,
        open_revocations(settings.redis_url, settings.data_dir) as revocations,
        open_passwords() as passwords,
        open_http_client() as http,
    ):
        await migrate(database, MIGRATIONS, NAME, settings.data_dir)
        app[CHECKS]["database"] = database.check
        users = SqlUsers(database)
        signer, keys = await _prepare_keys(settings, database)
        app[SIGNER] = signer
        app[VERIFIER] = TokenVerifier(settings, keys, revocations)
        app[SERVICE_GUARD] = ServiceGuard(settings.internal_secret, NAME)
        app[ACCOUNTS] = AccountService(users, passwords, LoginThrottle(failures))
        app[SESSIONS] = SessionService(settings, SqlSessions(database), users, signer, revocations)
        app[ORGANIZATIONS] = OrganizationService(SqlOrganizations(database), users)
        app[PERSON_ERASER] = build_eraser(settings, database, app[SESSIONS], http)
        async with working(partial(work_periodically, "erasures", app[PERSON_ERASER].sweep, ERASURES_S)):
            yield


def build_app(settings: AuthVerifySettings) -> web.Application:
    """Build the app; its resources open when it starts."""
    app = base_app(INFO, settings, ROUTES)
    app.cleanup_ctx.append(partial(_resources, settings))
    return app
