"""What auth-verify reads from the environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.settings import DatabaseSettings, DatabaseUrl, Port, RedisSettings, TokenSettings, per_service


class Settings(TokenSettings, RedisSettings, DatabaseSettings):
    """Where it listens, which database it keeps, and what it signs with."""

    port: Port = Field(8000, validation_alias="AUTH_VERIFY_PORT")
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "AUTH_VERIFY", 1)
    database_url: DatabaseUrl = per_service("DATABASE_URL", "AUTH_VERIFY", "")

    @property
    def needs_data_dir(self) -> bool:
        """Rows and revocations are files where nothing else is set."""
        return not self.database_url or not self.redis_url
