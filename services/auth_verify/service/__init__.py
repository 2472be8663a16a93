"""The use cases: accounts, sessions and their tokens, organisations."""

from services.auth_verify.service.accounts import AccountService
from services.auth_verify.service.erasure import PersonEraser
from services.auth_verify.service.organizations import OrganizationService
from services.auth_verify.service.sessions import SessionService, TokenPair, introspect
from services.auth_verify.service.signing import KeyRing, SecretSigner, TokenSigner
from services.auth_verify.service.throttle import LoginThrottle

__all__ = [
    "AccountService",
    "KeyRing",
    "LoginThrottle",
    "OrganizationService",
    "PersonEraser",
    "SecretSigner",
    "SessionService",
    "TokenPair",
    "TokenSigner",
    "introspect",
]
