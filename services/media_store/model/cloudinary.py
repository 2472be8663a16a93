"""The account at Cloudinary where images may be kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Account:
    """An account at Cloudinary: the cloud's name, the key and secret of its API, and how requests are signed."""

    cloud: str
    key: str
    secret: str = field(repr=False)
    algorithm: str


def parse_account(url: str) -> Account:
    """Read a `CLOUDINARY_URL`, as Cloudinary's own SDKs do. Raises ValueError, in words for who set it."""
    parts = urlsplit(url)
    algorithm = dict(parse_qsl(parts.query)).get("signature_algorithm", "sha1")
    if parts.scheme != "cloudinary" or not (parts.username and parts.password and parts.hostname):
        raise ValueError("CLOUDINARY_URL must be cloudinary://<key>:<secret>@<cloud>")
    if algorithm not in {"sha1", "sha256"}:
        raise ValueError("CLOUDINARY_URL: the signature_algorithm must be sha1 or sha256")
    return Account(parts.netloc.rpartition("@")[2], parts.username, parts.password, algorithm)
