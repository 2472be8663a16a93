"""What the sandbox reads from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, field_validator, model_validator

from shared.settings import Port, ServerSettings, Urls, Words, missing


class SandboxSettings(ServerSettings):
    """Where it listens, and where and with which secret its webhooks go."""

    port: Port = Field(8009, validation_alias="STRIPE_SANDBOX_PORT")
    """Where the Stripe sandbox listens, in development. Example: `9009`"""
    checkout_port: Port = 8003
    checkout_url: Urls = ()
    stripe_webhook_secret: Words = Field((), repr=False)

    @field_validator("environment")
    @classmethod
    def _refuse_production(cls, value: str) -> str:
        if value == "production":
            raise ValueError("the Stripe sandbox moves no real money and does not run in production")
        return value

    @model_validator(mode="after")
    def _follow_port(self) -> Self:
        if not self.checkout_url:
            object.__setattr__(self, "checkout_url", (f"http://localhost:{self.checkout_port}",))
        return self

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not self.stripe_webhook_secret:
            yield missing("STRIPE_WEBHOOK_SECRET")

    @property
    def webhook_url(self) -> str:
        return f"{self.checkout_url[0].rstrip('/')}/api/checkout/webhook"

    @property
    def webhook_secret(self) -> str:
        return self.stripe_webhook_secret[0]

    @property
    def needs_data_dir(self) -> bool:
        return True
