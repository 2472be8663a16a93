"""What media-store reads from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from services.media_store.model.cloudinary import parse_account
from shared.settings import (
    DatabaseUrl,
    ImageSettings,
    Port,
    RedisSettings,
    StorageSettings,
    TokenSettings,
    Url,
    per_service,
)

Count = Annotated[int, Field(ge=1)]


class MediaStoreSettings(TokenSettings, ImageSettings, RedisSettings, StorageSettings):
    """Where it listens, where it keeps images and rows, what it accepts, and who may read."""

    port: Port = Field(8002, validation_alias="MEDIA_STORE_PORT")
    """Where media-store listens. Example: `9002`"""
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "MEDIA_STORE", 1)
    database_url: DatabaseUrl = per_service("DATABASE_URL", "MEDIA_STORE", "")
    max_upload_size: Count = 10 * 2**20
    """The largest image that is kept, in bytes; the same for each photo of an order. Example: `20971520`"""
    store_image_require_auth: bool = False
    """Whether `/store-image` asks for a token. Example: `true`"""
    media_public_read: bool = True
    """Whether anybody may list and see users' images. Example: `false`"""
    strip_metadata: bool = True
    """Whether metadata, places for one, is taken out of images that the public can see. Example: `false`"""
    store_image_ttl_s: Count | None = None
    """Seconds that images of `/store-image` are kept. Empty: for good. Example: `2592000`"""
    temp_object_ttl_s: Count | None = None
    """Seconds that uploads under `temp/` are kept. Empty: for good. Set it where all of them are promoted.
    Example: `86400`
    """
    store_image_to: Literal["", "cloudinary"] = ""
    """Where images of `/store-image` go. Empty: as all others. Example: `cloudinary`"""
    cloudinary_url: str = Field("", repr=False)
    """The account at Cloudinary, with `?signature_algorithm=sha256` where it asks for that; keep it as long as
    images are there.
    Example: `cloudinary://key:secret@cloud`
    """
    cloudinary_api_base: Url = "https://api.cloudinary.com"
    """Another address of Cloudinary's API. Example: `https://api-eu.cloudinary.com`"""

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.store_image_to and not self.cloudinary_url:
            yield "CLOUDINARY_URL is missing: STORE_IMAGE_TO=cloudinary needs it"
        try:
            if self.cloudinary_url:
                parse_account(self.cloudinary_url)
        except ValueError as error:
            yield str(error)

    @property
    def needs_data_dir(self) -> bool:
        """Always: uploads are spooled."""
        return True
