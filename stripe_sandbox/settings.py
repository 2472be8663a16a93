"""What the sandbox reads from the environment."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from shared.settings import Port, ServerSettings, Words


class SandboxSettings(ServerSettings):
    """Where it listens, and where and with which secret its webhooks go."""

    port: Port = Field(8009, validation_alias="STRIPE_SANDBOX_PORT")
    checkout_port: Port = 8003
    checkout_url: Words = ()
    stripe_webhook_secret: Words = Field((), repr=False)

    @field_validator("environment")
    @classmethod
    def _refuse_production(cls, value: str) -> str:
        if value == "production":
            raise ValueError("the Stripe sandbox moves no real money and does not run in production")
        return value

    @model_validator(mode="after")
    def _check_webhooks(self) -> Self:
        if not self.stripe_webhook_secret:
            raise ValueError(
                "STRIPE_WEBHOOK_SECRET is missing: set it in the environment or in .env (`make run` writes one)"
            )
        if not self.checkout_url:
            object.__setattr__(self, "checkout_url", (f"http://localhost:{self.checkout_port}",))
        return self

    @property
    def webhook_url(self) -> str:
        """Where the events go."""
        return f"{self.checkout_url[0].rstrip('/')}/api/checkout/webhook"

    @property
    def webhook_secret(self) -> str:
        """What the events are signed with."""
        return self.stripe_webhook_secret[0]
