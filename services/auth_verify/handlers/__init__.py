"""The URL table: parse, call, render."""

from services.auth_verify.handlers import auth, organizations, users
from services.auth_verify.handlers.app_keys import ACCOUNTS, ORGANIZATIONS, PERSON_ERASER, SESSIONS, SIGNER

__all__ = ["ACCOUNTS", "ORGANIZATIONS", "PERSON_ERASER", "ROUTES", "SESSIONS", "SIGNER"]

ROUTES = (*auth.ROUTES, *organizations.ROUTES, *users.ROUTES)
