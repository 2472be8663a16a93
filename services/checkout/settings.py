"""What checkout reads from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from services.checkout.adapters.toml import CatalogueInvalid, read_catalogue
from shared.settings import (
    LOOPBACK_HOSTS,
    DatabaseUrl,
    ImageSettings,
    Port,
    RedisSettings,
    StorageSettings,
    TokenSettings,
    Url,
    Urls,
    Words,
    missing,
    per_service,
)

STRIPE_API = "https://api.stripe.com"


class CheckoutSettings(TokenSettings, ImageSettings, RedisSettings, StorageSettings):
    """Where it listens, which Stripe it talks to, and what it sells."""

    port: Port = Field(8003, validation_alias="CHECKOUT_PORT")
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "CHECKOUT", 1)
    database_url: DatabaseUrl = per_service("DATABASE_URL", "CHECKOUT", "")
    temp_image_port: Port = 8001
    planter_orders_port: Port = 8007
    stripe_sandbox_port: Port = 8009
    temp_image_url: Urls = ()
    planter_orders_url: Urls = ()
    stripe_secret_key: str = Field("", repr=False)
    stripe_publishable_key: str = ""
    stripe_webhook_secret: Words = Field((), repr=False)
    stripe_api_base: Url = ""
    catalogue_file: Path | None = None
    checkout_session_ttl_s: Annotated[int, Field(ge=1860, le=86400)] = 2100

    @model_validator(mode="after")
    def _complete(self) -> Self:
        sandbox = f"http://127.0.0.1:{self.stripe_sandbox_port}"
        filled = {
            "temp_image_url": self.temp_image_url or (f"http://localhost:{self.temp_image_port}",),
            "planter_orders_url": self.planter_orders_url or (f"http://localhost:{self.planter_orders_port}",),
            "stripe_api_base": (self.stripe_api_base or (STRIPE_API if self.stripe_secret_key else sandbox)).rstrip(
                "/"
            ),
        }
        for name, value in filled.items():
            object.__setattr__(self, name, value)
        if self.environment != "production" and self.uses_sandbox:
            object.__setattr__(self, "stripe_secret_key", self.stripe_secret_key or "sk_test_sandbox")
            object.__setattr__(self, "stripe_publishable_key", self.stripe_publishable_key or "pk_test_sandbox")
        return self

    def problems(self) -> Iterator[str]:
        """Check that payments have all they need, and the catalogue."""
        yield from super().problems()
        for name in ("stripe_secret_key", "stripe_publishable_key", "stripe_webhook_secret"):
            if not getattr(self, name):
                yield missing(name.upper())
        try:
            read_catalogue(self.catalogue_file)
        except CatalogueInvalid as error:
            yield f"CATALOGUE_FILE: {error}"
        if self.environment == "production":
            if self.stripe_secret_key == "sk_test_sandbox":
                yield "STRIPE_SECRET_KEY must be Stripe's own in production: the sandbox moves no money"
            base = urlsplit(self.stripe_api_base)
            if self.stripe_secret_key and (base.scheme != "https" or base.hostname in LOOPBACK_HOSTS):
                yield "STRIPE_API_BASE must be empty in production: the sandbox moves no money"

    @property
    def pay_page(self) -> str:
        """Where a browser finds the sandbox's page of a session, by its id; empty with Stripe itself."""
        port = urlsplit(self.stripe_api_base).port or self.stripe_sandbox_port
        return f"http://localhost:{port}/pay/" if self.uses_sandbox else ""

    @property
    def uses_sandbox(self) -> bool:
        """Whether no real money moves."""
        return self.stripe_api_base != STRIPE_API

    @property
    def needs_data_dir(self) -> bool:
        """Always: what goes through it is spooled."""
        return True
