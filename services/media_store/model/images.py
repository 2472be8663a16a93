"""Stored images: what is kept of each, where its bytes lie, and what is refused."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from shared.auth.signed_links import SignedLinks
from shared.errors import BadRequest, Conflict, NotAllowedValue, NotFound, TooLarge
from shared.http.body import size_text
from shared.http.cursors import Position
from shared.http.validation import length_as_typed

MAX_CAPTION = 1000
MAX_PURPOSE = 80
MAX_SESSION_ID = 128
MAX_FILENAME = 255
MAX_SAFE_NAME = 100
MAX_NAME_BYTES = 200  # a folder's name on disk has at most 255
PRESIGNED_MAX_BYTES = 10 * 2**20

STORED_PREFIX = "pet-images/"
USERS_PREFIX = "users/"
EVENTS_PREFIX = "events/"
TEMP_PREFIX = "temp/"
# Beside the originals, as a tree of its own: no listing of originals meets a rendition, and the folder that a key
# names here is that key's alone.
RENDITIONS_PREFIX = "renditions/"
ORIGINALS = (EVENTS_PREFIX, STORED_PREFIX, USERS_PREFIX)
PUBLIC = (*ORIGINALS, TEMP_PREFIX)

UNSAFE_BYTE = re.compile(rb"[^A-Za-z0-9._@+-]")
PURPOSE = re.compile(r"original|processed_.+", re.DOTALL)
NOT_IN_SESSION_KEYS = re.compile(r"\r\n|[^A-Za-z0-9_-]")  # a line break is one character, as it is for the limits
ORGANIZATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
IMAGE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TEMP_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-([A-Za-z0-9._-]{1,100})")
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Kind(StrEnum):
    """Whose image it is, and so by which rules it lives."""

    STORED = "stored"  # of a session of the shop, anonymous
    USER = "user"
    EVENT = "event"  # of an organisation, promoted from its temporary upload


class ImageType(StrEnum):
    """What a user's image is for."""

    PROFILE = "profile"
    GALLERY = "gallery"
    COVER = "cover"


class ImageNotFound(NotFound):
    """There is no such image."""

    def __init__(self) -> None:
        """Use the contract's sentence."""
        super().__init__("Image not found")


class AlreadyPromoted(Conflict):
    """Another image was promoted from this source before."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One row: an image whose bytes are at `key`; `width` and `height` as displayed, `size` in bytes, `sha256` in hex.

    `username` (as first written), `name_key`, `image_type`, `is_primary` and `caption` are a user's image's; `source_key`
    is what it was promoted from. `url` is set where the bytes are at Cloudinary and not in our store, `rewritten` where the
    pixels were encoded anew, `converted_from` where they came in another format (`heic`, `avif`).
    """

    id: str
    kind: Kind
    key: str
    sha256: str
    size: int
    content_type: str
    width: int
    height: int
    uploaded_at: datetime
    username: str | None = None
    name_key: str | None = None
    image_type: str | None = None
    is_primary: bool = False
    caption: str = ""
    source_key: str | None = None
    url: str | None = None
    rewritten: bool = False
    converted_from: str | None = None
    placeholder: str | None = None

    @property
    def name(self) -> str:
        """By which its user's name is found: the key, or the spelling where the release before has written it."""
        return self.name_key or self.username or ""

    @property
    def how_made(self) -> dict[str, Any]:
        """What is told of how it was made: of what is not so, nothing."""
        return {
            "placeholder": self.placeholder,
            "rewritten": self.rewritten or None,
            "converted_from": self.converted_from,
        }

    @property
    def position(self) -> Position:
        return Position(self.uploaded_at, self.id)


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def parse_image_id(text: str) -> str:
    """Return a well-formed image id in its one spelling. Raises ImageNotFound for any other, which no image has."""
    image_id = text.lower()
    if not IMAGE_ID.fullmatch(image_id):
        raise ImageNotFound
    return image_id


def parse_purpose(purpose: str) -> str:
    """Return `original` or `processed_<effect>`. Raises BadRequest."""
    if length_as_typed(purpose) > MAX_PURPOSE or not PURPOSE.fullmatch(purpose):
        raise BadRequest.of(
            "purpose",
            f"The purpose must be original or processed_<effect>, at most {MAX_PURPOSE} characters.",
            "invalid_purpose",
        )
    return purpose


def stored_stem(session_id: str, purpose: str, moment: datetime) -> str:
    """Return how the keys of an image of a session begin; `_`, 8 hex digits and the extension follow."""
    said = NOT_IN_SESSION_KEYS.sub("_", f"{session_id}_{purpose}")
    return f"{STORED_PREFIX}{said}_{moment:%Y%m%d%H%M%S}"


def user_key(username: str, image_type: str, moment: datetime, extension: str) -> str:
    return f"{USERS_PREFIX}{escaped(username)}/images/{image_type}_{_microseconds(moment)}.{extension}"


def escaped(username: str) -> str:
    """Write a name as one segment of a key, no two names alike; an overlong one as its digest, which no short one looks like."""
    name = UNSAFE_BYTE.sub(lambda found: b"~%02X" % found[0][0], username.encode()).decode()
    name = name.replace("..", ".~2E")  # no server on the way takes two dots for a way up
    return name if len(name) <= MAX_NAME_BYTES else f"~sha256-{hashlib.sha256(username.encode()).hexdigest()}"


def temp_key(organization_id: str, unique: str, filename: str) -> str:
    return f"{TEMP_PREFIX}{organization_id}/{unique}-{safe_name(filename)}"


def filename_in_temp_key(key: str, organization_id: str) -> str:
    """Return the safe file name in a temporary key of this organisation. Raises ImageNotFound for any other key."""
    prefix = f"{TEMP_PREFIX}{organization_id}/"
    found = TEMP_NAME.fullmatch(key[len(prefix) :]) if key.startswith(prefix) else None
    if found is None:
        raise ImageNotFound
    return found[1]


def event_key(organization_id: str, unique: str, filename: str) -> str:
    """Name a promoted image; `filename` is safe and has the right extension."""
    return f"{EVENTS_PREFIX}{organization_id}/{unique}-{filename}"


def parse_filename(filename: str) -> str:
    """Return the name without folders. Raises BadRequest."""
    name = re.split(r"[/\\]", filename)[-1]
    if not name or len(filename) > MAX_FILENAME or CONTROLS.search(filename):
        raise BadRequest.of(
            "filename",
            f"The filename must have 1 to {MAX_FILENAME} characters and no control characters.",
            "invalid_filename",
        )
    return name


def safe_name(name: str) -> str:
    """Write a file name in `[A-Za-z0-9._-]`, at most 100 characters, its extension kept."""
    safe = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]", "_", name))
    stem, dot, extension = safe.rpartition(".")
    if not stem or len(extension) > 10:
        return safe[:MAX_SAFE_NAME]
    return stem[: MAX_SAFE_NAME - 1 - len(extension)] + dot + extension


def require_presigned_size(size: int) -> None:
    """Raise TooLarge, or NotAllowedValue for no bytes."""
    if size > PRESIGNED_MAX_BYTES:
        raise TooLarge(f"The file is too large: at most {size_text(PRESIGNED_MAX_BYTES)}.", "file_too_large")
    if size < 1:
        raise NotAllowedValue.of("size", "The size must be at least 1 byte.")


def renditions_of(key: str) -> str:
    return f"{RENDITIONS_PREFIX}{key}/"


def rendition_key(key: str, version: str, width: int, extension: str) -> str:
    """Name a rendition; `version` is the original's ETag, so that other bytes never show an old rendition."""
    return f"{renditions_of(key)}{version[:32]}.w{width}.{extension}"


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
