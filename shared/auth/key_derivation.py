"""Several keys out of one secret: each purpose has its own (HKDF, RFC 5869)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


def derive_key(secret: str, purpose: str) -> bytes:
    """Return the 32-byte key of `secret` for `purpose`; who learns one purpose's key learns no other's."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"keepsake {purpose}".encode()).derive(secret.encode())
