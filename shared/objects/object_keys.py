"""Object keys: the one place that decides which may be used, and what their extensions say."""

from __future__ import annotations

import re

from shared.errors import NotFound

MAX_KEY_BYTES = 900
MAX_SEGMENT_BYTES = 255  # NAME_MAX: a segment is a file's name on disk
SEGMENT = rf"(?!\.{{1,2}}(?:/|\Z))[\x20-\x2e\x30-\x5b\x5d-\x7e]{{1,{MAX_SEGMENT_BYTES}}}"
KEY = re.compile(rf"{SEGMENT}(?:/{SEGMENT})*")
CONTENT_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "json": "application/json",
}
ANY_TYPE = "application/octet-stream"


class ObjectNotFound(NotFound):
    """No object has this key."""

    def __init__(self) -> None:
        """Use the contract's sentence for an image that is not there."""
        super().__init__("Image not found")


class InvalidKey(ObjectNotFound):
    """A key that no object can have; in a path it is one more way to ask for what is not there."""


def require_key(key: str) -> str:
    r"""Return `key`, or raise InvalidKey.

    A key is printable ASCII without backslash, at most 900 bytes; its segments between slashes have 1 to 255 bytes and are
    not `.` or `..`: so below a root it names a file there, and in a bucket the same object for every client.
    """
    if len(key) > MAX_KEY_BYTES or not KEY.fullmatch(key):
        raise InvalidKey
    return key


def require_prefix(prefix: str) -> str:
    """Return `prefix`, a key and a slash, or raise InvalidKey: without the slash a sibling would match too."""
    if not prefix.endswith("/"):
        raise InvalidKey
    require_key(prefix[:-1])
    return prefix


def is_key(text: str) -> bool:
    return len(text) <= MAX_KEY_BYTES and KEY.fullmatch(text) is not None


def content_type_of(key: str) -> str:
    """Return what the key's extension stands for, `application/octet-stream` for all but images and JSON."""
    name = key.rpartition("/")[2]
    return CONTENT_TYPES.get(name.rpartition(".")[2].lower(), ANY_TYPE) if "." in name else ANY_TYPE
