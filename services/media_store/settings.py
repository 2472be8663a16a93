"""What media-store reads from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from services.media_store.model import parse_account
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
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "MEDIA_STORE", 1)
    database_url: DatabaseUrl = per_service("DATABASE_URL", "MEDIA_STORE", "")
    max_upload_size: Count = 10 * 2**20
    store_image_require_auth: bool = False
    media_public_read: bool = True
    strip_metadata: bool = True
    store_image_ttl_s: Count | None = None
    temp_object_ttl_s: Count | None = None
    store_image_to: Literal["", "cloudinary"] = ""
    cloudinary_url: str = Field("", repr=False)
    cloudinary_api_base: Url = "https://api.cloudinary.com"

    def problems(self) -> Iterator[str]:
        """Check the account at Cloudinary."""
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
