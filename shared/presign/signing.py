"""Presigned uploads: a form or a URL with which a browser stores one object itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit

from shared.settings import Bucket

ALGORITHM = "AWS4-HMAC-SHA256"
LOCAL_BUCKET = "media"
LOCAL_REGION = "local"
LOCAL_ACCESS_KEY = "KEEPSAKE"


@dataclass(frozen=True)
class PresignedUpload:
    """What a browser needs to upload one object; `fields` go before the file, `headers` with the request."""

    key: str
    url: str
    method: str
    fields: dict[str, str]
    headers: dict[str, str]
    expires_at: datetime


def local_bucket(public_url: str, internal_secret: str) -> Bucket:
    """Return the bucket that is `POST /media/` itself, with a key of its own made from `internal_secret`."""
    secret = hmac.digest(internal_secret.encode(), b"keepsake presigned uploads", "sha256").hex()
    return Bucket(LOCAL_BUCKET, LOCAL_REGION, public_url.rstrip("/"), LOCAL_ACCESS_KEY, secret)


def presign_post(
    bucket: Bucket, key: str, content_type: str, *, min_bytes: int = 1, max_bytes: int, lifetime_s: int, now: datetime
) -> PresignedUpload:
    """Sign a form that stores one file of this type, and of this many bytes, at exactly this key."""
    expires_at = now.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=lifetime_s)
    fields = {
        "key": key,
        "Content-Type": content_type,
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{bucket.access_key}/{_scope_of(bucket, now)}",
        "x-amz-date": _stamp(now),
    }
    if bucket.session_token:
        fields["x-amz-security-token"] = bucket.session_token
    policy = {
        "expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [
            {"bucket": bucket.name},
            ["content-length-range", min_bytes, max_bytes],
            *({name: value} for name, value in fields.items()),
        ],
    }
    fields["policy"] = base64.b64encode(json.dumps(policy, separators=(",", ":")).encode()).decode()
    fields["x-amz-signature"] = sign(bucket.secret_key, _scope_of(bucket, now), fields["policy"])
    return PresignedUpload(key, bucket.url, "POST", fields, {}, expires_at)


def presign_put(
    bucket: Bucket, key: str, content_type: str, *, size: int, lifetime_s: int, now: datetime
) -> PresignedUpload:
    """Sign a URL that takes one PUT of exactly this type and number of bytes."""
    expires_at = now.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=lifetime_s)
    url = bucket.url + quote(key, safe="/~")
    parts = urlsplit(url)
    headers = {"content-length": str(size), "content-type": content_type, "host": parts.netloc}
    query = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{bucket.access_key}/{_scope_of(bucket, now)}",
        "X-Amz-Date": _stamp(now),
        "X-Amz-Expires": str(lifetime_s),
        **({"X-Amz-Security-Token": bucket.session_token} if bucket.session_token else {}),
        "X-Amz-SignedHeaders": ";".join(headers),
    }
    signed = urlencode(sorted(query.items()), quote_via=quote, safe="~")
    canonical = "\n".join(
        [
            "PUT",
            parts.path,
            signed,
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            ";".join(headers),
            "UNSIGNED-PAYLOAD",
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join([ALGORITHM, _stamp(now), _scope_of(bucket, now), digest])
    signature = sign(bucket.secret_key, _scope_of(bucket, now), text)
    # The browser sets Content-Length and Host itself, and lets no page do so.
    sent = {"Content-Type": content_type}
    return PresignedUpload(key, f"{url}?{signed}&X-Amz-Signature={signature}", "PUT", {}, sent, expires_at)


def _stamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _scope_of(bucket: Bucket, now: datetime) -> str:
    return f"{_stamp(now)[:8]}/{bucket.region}/s3/aws4_request"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(errors="replace"), "sha256")


def sign(secret: str, scope: str, text: str) -> str:
    """Sign `text` with the key that SigV4 derives from the secret for this day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return _hmac(key, text).hex()
