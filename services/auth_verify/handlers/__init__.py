"""The URL table: parse, call, render."""

from services.auth_verify.handlers import auth, organizations, users

ROUTES = (*auth.ROUTES, *organizations.ROUTES, *users.ROUTES)
