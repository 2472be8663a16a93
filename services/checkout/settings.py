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
    """Where checkout listens. Example: `9003`"""
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "CHECKOUT", 1)
    database_url: DatabaseUrl = per_service("DATABASE_URL", "CHECKOUT", "")
    temp_image_port: Port = 8001
    planter_orders_port: Port = 8007
    stripe_sandbox_port: Port = 8009
    temp_image_url: Urls = ()
    planter_orders_url: Urls = ()
    stripe_secret_key: str = Field("", repr=False)
    """Stripe's secret key. Empty: the sandbox on this machine, where no real money moves.
    Example: `sk_live_0123456789`
    """
    stripe_publishable_key: str = ""
    """The publishable key that goes with it. Example: `pk_live_0123456789`"""
    stripe_webhook_secret: Words = Field((), repr=False)
    """The secrets of Stripe's webhooks; several, comma-separated, while one is being replaced. Random: `make run`
    makes one.
    Example: `whsec_0123456789`
    """
    stripe_api_base: Url = ""
    """Where Stripe is. Empty: Stripe itself with a secret key, the sandbox without one.
    Example: `http://localhost:8009`
    """
    catalogue_file: Path | None = None
    """The products and their prices, in TOML. Empty: the built-in ones. Example: `/etc/keepsake/catalogue.toml`"""
    checkout_session_ttl_s: Annotated[int, Field(ge=1860, le=86400)] = 2100
    """Seconds that a checkout session stays open, 1860 to 86400. Example: `3600`"""

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
                in_stripe = self.environment == "production" or not self.uses_sandbox
                yield missing(name.upper(), *(["Stripe's dashboard has it"] if in_stripe else []))
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
        return self.stripe_api_base != STRIPE_API

    @property
    def needs_data_dir(self) -> bool:
        """Always: what goes through it is spooled."""
        return True
