"""What planter-orders reads from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from services.planter_orders.model.deliveries import InvalidSecret, signing_key
from shared.settings import (
    DatabaseUrl,
    ImageSettings,
    Port,
    RedisSettings,
    StorageSettings,
    TokenSettings,
    Url,
    Urls,
    Words,
    per_service,
)

MIB = 2**20


class PlanterOrdersSettings(TokenSettings, ImageSettings, RedisSettings, StorageSettings):
    """Where it listens, what an order may have, and who is told of its changes."""

    port: Port = Field(8007, validation_alias="PLANTER_ORDERS_PORT")
    """Where planter-orders listens. Example: `9007`"""
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "PLANTER_ORDERS", 1)
    database_url: DatabaseUrl = per_service("DATABASE_URL", "PLANTER_ORDERS", "")
    checkout_port: Port = 8003
    checkout_url: Urls = ()
    max_upload_size: Annotated[int, Field(ge=1)] = 10 * MIB
    max_files_per_order: Annotated[int, Field(ge=1, le=16)] = 4  # a form has at most 20 parts
    """The most photos of an order, 1 to 16. Example: `8`"""
    order_webhook_url: Url = Field("", repr=False)
    """Who is told of orders' changes (Standard Webhooks). Empty: nobody.
    Example: `https://shop.example/webhooks/orders`
    """
    order_webhook_secret: Words = Field((), repr=False)
    """The secrets that these are signed with, `whsec_` and base64; several, comma-separated, while one is being
    replaced.
    Example: `whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz`
    """

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.checkout_url:
            object.__setattr__(self, "checkout_url", (f"http://localhost:{self.checkout_port}",))
        return self

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.order_webhook_url and not self.order_webhook_secret:
            yield "ORDER_WEBHOOK_SECRET is missing: ORDER_WEBHOOK_URL needs it"
        try:
            for secret in self.order_webhook_secret:
                signing_key(secret)
        except InvalidSecret:
            yield "ORDER_WEBHOOK_SECRET must be whsec_ and base64"

    @property
    def needs_data_dir(self) -> bool:
        """Always: uploads are spooled."""
        return True
