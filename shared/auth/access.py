"""Who may call a route."""

from __future__ import annotations

from enum import StrEnum


class Access(StrEnum):
    """Everybody, whoever has a token, the role `admin`, or another service."""

    PUBLIC = "public"
    TOKEN = "token"
    ADMIN = "admin"
    SERVICE = "service"
