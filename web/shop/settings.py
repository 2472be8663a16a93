"""What the demo shop reads from the environment."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from shared.settings import LOOPBACK_HOSTS, OnOff, Port, ServerSettings, StorageSettings, Url

STRIPE_POLICY = {  # what Stripe asks for: https://docs.stripe.com/security/guide#content-security-policy
    "connect-src": "https://api.stripe.com",
    "frame-src": "https://js.stripe.com https://checkout.stripe.com https://hooks.stripe.com",
    "img-src": "https://*.stripe.com",
    "script-src": "https://js.stripe.com https://*.js.stripe.com https://checkout.stripe.com",
}


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class ShopSettings(ServerSettings, StorageSettings):
    """Where it listens (at `FRONTEND_URL`), and where its pages may send requests."""

    port: Port = 3000
    demo_shop: OnOff = "on"
    stripe_api_base: Url = ""
    stripe_secret_key: Annotated[bool, BeforeValidator(bool)] = False  # only whether there is one

    @model_validator(mode="after")
    def _follow_frontend_url(self) -> Self:
        object.__setattr__(self, "port", urlsplit(self.frontend_url).port or 80)
        return self

    @property
    def is_wanted(self) -> bool:
        """Whether it is to run: in development, and where `FRONTEND_URL` is on this machine."""
        shop = urlsplit(self.frontend_url)
        here = shop.scheme == "http" and shop.hostname in LOOPBACK_HOSTS
        return here and self.demo_shop == "on" and self.environment == "development"

    @property
    def policy(self) -> str:
        """Return the pages' Content-Security-Policy: the shop itself, Keepsake, its bucket, and Stripe where it is used."""
        bucket = [] if self.storage_backend == "local" else [_origin_of(self.bucket.url)]
        images = [_origin_of(self.public_base_url)] if self.public_base_url else bucket
        allowed = {
            "connect-src": [self.public_url, *bucket],
            "frame-src": [],
            "img-src": ["data:", "blob:", self.public_url, *images],
            "script-src": [],
        }
        if self.stripe_secret_key and not self.stripe_api_base:
            for directive, sources in STRIPE_POLICY.items():
                allowed[directive].append(sources)
        rules = (f"{directive} 'self' {' '.join(sources)}; " for directive, sources in allowed.items() if sources)
        return f"default-src 'self'; {''.join(rules)}object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
