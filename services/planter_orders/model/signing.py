"""Signatures of outgoing webhooks, as Standard Webhooks (standardwebhooks.com) has them."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


class InvalidSecret(ValueError):
    """A secret that is not base64, or empty."""


def signing_key(secret: str) -> bytes:
    """Return the key in `whsec_<base64>`; the prefix may be missing. Raises InvalidSecret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise InvalidSecret from error
    if not key:
        raise InvalidSecret
    return key


def signed_headers(message_id: str, timestamp_s: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the three headers; with several keys, which are rotated so, there is a signature by each."""
    content = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
