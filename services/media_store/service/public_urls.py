"""Where browsers find stored images."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from services.media_store.model import USERS_PREFIX
from shared.auth.signed_links import SignedLinks


@dataclass(frozen=True, slots=True)
class PublicAddresses:
    """`public_url` is the gateway's, `cdn_url` another place where the bucket is read, or empty; neither ends in a slash."""

    public_url: str
    cdn_url: str
    users_are_public: bool
    links: SignedLinks

    def of(self, key: str) -> str:
        """Return the address of an object: of private ones a signed link, and never the CDN's, which checks none."""
        if key.startswith(USERS_PREFIX) and not self.users_are_public:
            return self.links.url(f"/media/{path_of(key)}")
        return f"{self.cdn_url}/{path_of(key)}" if self.cdn_url else f"{self.public_url}/media/{path_of(key)}"


def path_of(key: str) -> str:
    """Write a key as a URL's path; a plus too is escaped, which S3 would read as a space."""
    return quote(key, safe="/~@")
