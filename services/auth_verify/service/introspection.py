"""What a service may ask about a token (RFC 7662)."""

from __future__ import annotations

from typing import Any

from shared.auth.access_tokens import TokenVerifier
from shared.errors import Unauthorized


async def introspect(verifier: TokenVerifier, token: str) -> dict[str, Any]:
    """Return the claims of an active token; of any other one nothing but that it is not active (section 2.2)."""
    try:
        principal = await verifier.verify(token)
    except Unauthorized:
        return {"active": False}
    return {**principal.claims, "active": True, "token_type": "Bearer"}
