"""What media-store reads from the environment."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from services.media_store.model import parse_account
from shared.settings import ImageSettings, Port, RedisSettings, StorageSettings, TokenSettings, per_service

Count = Annotated[int, Field(ge=1)]


class MediaStoreSettings(TokenSettings, ImageSettings, RedisSettings, StorageSettings):
    """Where it listens, where it keeps images and rows, what it accepts, and who may read."""

    port: Port = Field(8002, validation_alias="MEDIA_STORE_PORT")
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "MEDIA_STORE", 1)
    database_url: str = Field(
        "",
        validation_alias=AliasChoices("MEDIA_STORE_DATABASE_URL", "DATABASE_URL"),
        pattern=r"^(|postgresql\+asyncpg://.+|sqlite\+aiosqlite://.+)$",
        repr=False,
    )
    max_upload_size: Count = 10 * 2**20
    store_image_require_auth: bool = False
    media_public_read: bool = True
    strip_metadata: bool = True
    store_image_ttl_s: Count | None = None
    temp_object_ttl_s: Count | None = None
    store_image_to: Literal["", "cloudinary"] = ""
    cloudinary_url: str = Field("", repr=False)
    cloudinary_api_base: str = Field("https://api.cloudinary.com", pattern=r"^https?://[^/].*$")

    @model_validator(mode="after")
    def _check_cloudinary(self) -> Self:
        if self.store_image_to and not self.cloudinary_url:
            raise ValueError("CLOUDINARY_URL is missing: STORE_IMAGE_TO=cloudinary needs it")
        if self.cloudinary_url:
            parse_account(self.cloudinary_url)
        return self

    @property
    def needs_data_dir(self) -> bool:
        """Always: uploads are spooled."""
        return True
