"""The parts of AWS Signature Version 4 that forms and URLs share."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime

from shared.settings import Bucket

ALGORITHM = "AWS4-HMAC-SHA256"


def stamp(now: datetime) -> str:
    """Write a moment as `x-amz-date` does."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def scope_of(bucket: Bucket, now: datetime) -> str:
    """Return what a signature of this day is good for."""
    return f"{stamp(now)[:8]}/{bucket.region}/s3/aws4_request"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(errors="replace"), "sha256")


def sign(secret: str, scope: str, text: str) -> str:
    """Sign `text` with the key that SigV4 derives from the secret for this day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return _hmac(key, text).hex()
