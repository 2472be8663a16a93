"""Where an order's objects lie, on disk and in a bucket alike."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import datetime

PHOTOS = "uploads/pet_images"
# Beside the photos' tree and not in it: an order's folder has what the customer sent, and its description.
THUMBNAILS = "uploads/pet_thumbnails"
METADATA = "order_metadata.json"
NOBODY = ""  # whose an order is when its person was erased; no token's `sub` is empty
LONGEST_FOLDER = 200
UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")


def user_folder(user_id: str) -> str:
    """Write a user's id as a folder's name: other bytes as `~XX`, or its digest where that is over 200 bytes."""
    if user_id == NOBODY:
        return "~erased"  # no escaped byte, so nobody's folder
    data = user_id.encode()
    name = UNSAFE.sub(lambda found: b"~%02X" % found[0][0], data).decode()
    return name if len(name) <= LONGEST_FOLDER else f"sha256-{hashlib.sha256(data).hexdigest()}"


def folders_of(user_id: str, order_id: str) -> tuple[str, str]:
    """Return the prefixes of all that an order has: its photos, and their thumbnails."""
    place = f"{user_folder(user_id)}/{order_id}/"
    return f"{PHOTOS}/{place}", f"{THUMBNAILS}/{place}"


def photo_key(user_id: str, order_id: str, filename: str) -> str:
    """Return a photo's key."""
    return folders_of(user_id, order_id)[0] + filename


def thumbnail_key(user_id: str, order_id: str, filename: str) -> str:
    """Return the key of a photo's thumbnail."""
    return f"{folders_of(user_id, order_id)[1]}{filename}.webp"


def metadata_key(user_id: str, order_id: str) -> str:
    """Return the key of an order's description."""
    return folders_of(user_id, order_id)[0] + METADATA


def new_filename(at: datetime, extension: str, taken: Collection[str]) -> str:
    """Name a photo that arrived `at` (UTC), as none of `taken` is named."""
    while True:
        name = f"{at:%Y%m%d_%H%M%S}_{secrets.token_hex(3)}.{extension}"
        if name not in taken:
            return name
