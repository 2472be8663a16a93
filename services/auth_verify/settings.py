"""What auth-verify reads from the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from shared.settings import DatabaseSettings, DatabaseUrl, Port, RedisSettings, TokenSettings, Urls, per_service


class AuthVerifySettings(TokenSettings, RedisSettings, DatabaseSettings):
    """Where it listens, which database it keeps, and what it signs with."""

    port: Port = Field(8000, validation_alias="AUTH_VERIFY_PORT")
    """Where auth-verify listens. Example: `9000`"""
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "AUTH_VERIFY", 1)
    database_url: DatabaseUrl = per_service("DATABASE_URL", "AUTH_VERIFY", "")

    media_store_port: Port = 8002
    checkout_port: Port = 8003
    planter_orders_port: Port = 8007
    media_store_url: Urls = ()
    checkout_url: Urls = ()
    planter_orders_url: Urls = ()

    @property
    def people_urls(self) -> Mapping[str, Sequence[str]]:
        """The services that know people, and where each is reached."""
        named = {
            "planter-orders": (self.planter_orders_url, self.planter_orders_port),
            "checkout": (self.checkout_url, self.checkout_port),
            "media-store": (self.media_store_url, self.media_store_port),
        }
        return {name: urls or (f"http://localhost:{port}",) for name, (urls, port) in named.items()}

    @property
    def needs_data_dir(self) -> bool:
        return not self.database_url or not self.redis_url
