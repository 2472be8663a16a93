"""What temp-image reads from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from shared.settings import ImageSettings, Port, RedisSettings, TokenSettings, per_service

Count = Annotated[int, Field(ge=1)]


class TempImageSettings(TokenSettings, ImageSettings, RedisSettings):
    """Where it listens, where it keeps images, and how large and how old they may get."""

    port: Port = Field(8001, validation_alias="TEMP_IMAGE_PORT")
    """Where temp-image listens. Example: `9001`"""
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "TEMP_IMAGE", 1)
    temp_image_max_size: Count = 5 * 2**20
    """The largest temporary image, in bytes. Example: `8388608`"""
    temp_image_ttl_s: Count = 3600
    """Seconds that a temporary image is kept. Example: `7200`"""
    temp_dir: Annotated[Path | None, BeforeValidator(lambda text: text or None)] = None
    """Where temporary images are, without Redis. Empty: in `DATA_DIR`. A tmpfs will do: they outlive the process,
    not the machine.
    Example: `/dev/shm/keepsake`
    """

    @property
    def images_dir(self) -> Path:
        """Where images are, as long as there is no Redis."""
        return self.temp_dir or self.data_dir / "temp-images"

    @property
    def folders(self) -> Mapping[str, Path]:
        if self.redis_url:
            return {}
        return {"TEMP_DIR": self.temp_dir} if self.temp_dir else {"DATA_DIR": self.data_dir}
