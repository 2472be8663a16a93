"""Where the handlers find the services in the app."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from services.auth_verify.service.accounts import AccountService
from services.auth_verify.service.erasure import PersonEraser
from services.auth_verify.service.organizations import OrganizationService
from services.auth_verify.service.sessions import SessionService
from services.auth_verify.service.signing import TokenSigner

ACCOUNTS: Final = web.AppKey("ACCOUNTS", AccountService)
SESSIONS: Final = web.AppKey("SESSIONS", SessionService)
SIGNER: Final = web.AppKey("SIGNER", TokenSigner)
ORGANIZATIONS: Final = web.AppKey("ORGANIZATIONS", OrganizationService)
PERSON_ERASER: Final = web.AppKey("PERSON_ERASER", PersonEraser)
