"""The gateway's settings; nothing else in it reads the environment."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from limits import RateLimitItem, parse
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import (
    LOOPBACK_HOSTS,
    Domain,
    Networks,
    OnOff,
    Port,
    RedisSettings,
    ServerSettings,
    TokenSettings,
    Url,
    Urls,
    per_service,
)

OFF = "off"
RATE = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def _rate(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text == OFF:
        return None
    if not RATE.fullmatch(text):
        raise ValueError("must be <number>/<second|minute|hour|day>, or off")
    return parse(text)


def _check_addresses(urls: tuple[str, ...]) -> tuple[str, ...]:
    for parts in map(urlsplit, urls):
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise ValueError("must be http://host:port, several separated by commas")
    return urls


def _origin_of(url: str) -> str:
    """Return the scheme and host of an address; a bare domain is reached by https."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    return f"{parts.scheme}://{parts.netloc}"


Rate = Annotated[RateLimitItem | None, BeforeValidator(_rate), Field(validate_default=True)]
Addresses = Annotated[Urls, AfterValidator(_check_addresses)]


class PageSettings(ServerSettings):
    """Whether there are pages, and where they lead."""

    pages: OnOff | None = None
    """Whether the gateway serves `/`, `/docs` and `/admin` to browsers. Empty: `on` in development, `off` in
    production.
    Example: `off`
    """
    demo_shop: OnOff = "on"
    """Whether `make run` serves the demo shop at `FRONTEND_URL`, where that is on this machine; in development only.
    Example: `off`
    """
    stripe_sandbox_port: Port = 8009
    stripe_api_base: Url = ""
    stripe_secret_key: Annotated[bool, BeforeValidator(bool)] = False  # only whether there is one
    cdn_url: Domain = ""
    r2_public_domain: Domain = ""

    @model_validator(mode="after")
    def _follow_environment(self) -> Self:
        if self.pages is None:
            object.__setattr__(self, "pages", "off" if self.environment == "production" else "on")
        return self

    @property
    def sandbox_url(self) -> str:
        """Where the Stripe sandbox shows its sessions; empty where payments go elsewhere."""
        base = urlsplit(self.stripe_api_base)
        own = base.hostname in LOOPBACK_HOSTS and base.port == self.stripe_sandbox_port
        unset = not self.stripe_api_base and not self.stripe_secret_key
        return f"http://localhost:{self.stripe_sandbox_port}/" if own or unset else ""

    @property
    def shop_url(self) -> str:
        """Where the demo shop is; empty where there is none."""
        return f"{self.frontend_url}/" if self.demo_shop == "on" and self.environment == "development" else ""

    @property
    def policy(self) -> str:
        """Return the pages' Content-Security-Policy: nothing from elsewhere, but images where the services put them."""
        domains = (self.public_url, self.cdn_url, self.r2_public_domain)
        hosts = " ".join(sorted({_origin_of(domain) for domain in domains if domain}))
        return (
            f"default-src 'self'; img-src 'self' data: blob: {hosts}; object-src 'none'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'"
        )


class GatewaySettings(TokenSettings, RedisSettings, PageSettings):
    """Everything that can be set; where a service is reached follows its port unless an address is given."""

    model_config = SettingsConfigDict(arbitrary_types_allowed=True)

    port: Port = Field(8080, validation_alias="GATEWAY_PORT")
    """Where the gateway listens. Example: `80`"""
    workers: Annotated[int, Field(ge=1, le=64)] = per_service("WORKERS", "GATEWAY", 1)

    auth_verify_port: Port = 8000
    temp_image_port: Port = 8001
    media_store_port: Port = 8002
    checkout_port: Port = 8003
    planter_orders_port: Port = 8007
    auth_service_url: Addresses = ()
    temp_image_url: Addresses = ()
    """Where temp-image is reached; several addresses, comma-separated, are balanced. Example: `http://10.0.0.5:8001`"""
    media_store_url: Addresses = ()
    """Where media-store is reached; several addresses, comma-separated, are balanced. Example: `http://10.0.0.5:8002`"""
    checkout_url: Addresses = ()
    """Where checkout is reached; several addresses, comma-separated, are balanced. Example: `http://10.0.0.5:8003`"""
    planter_orders_url: Addresses = ()
    """Where planter-orders is reached; several addresses, comma-separated, are balanced. Example: `http://10.0.0.5:8007`"""

    max_upload_size: Annotated[int, Field(ge=1)] = 10 * 2**20
    max_files_per_order: Annotated[int, Field(ge=1)] = 4
    temp_image_max_size: Annotated[int, Field(ge=1)] = 5 * 2**20
    store_image_require_auth: bool = False
    media_public_read: bool = True

    rate_limit_store_image: Rate = "10/minute"  # type: ignore[assignment]  # validated into a rate
    """Images stored by one client address: `<number>/<second|minute|hour|day>`, or `off`. Example: `60/hour`"""
    rate_limit_login: Rate = "10/minute"  # type: ignore[assignment]  # validated into a rate
    """Logins, registrations and refreshes of one client address, as above. Example: `5/minute`"""
    rate_limit_default: Rate = "600/minute"  # type: ignore[assignment]  # validated into a rate
    """All other requests of one client address, as above. Example: `off`"""
    metrics_allow: Networks = LOOPBACK
    """Networks that may read the gateway's `/metrics`, comma-separated. Example: `10.0.0.0/8`"""

    @model_validator(mode="after")
    def _follow_ports(self) -> Self:
        for name, port in (
            ("auth_service_url", self.auth_verify_port),
            ("temp_image_url", self.temp_image_port),
            ("media_store_url", self.media_store_port),
            ("checkout_url", self.checkout_port),
            ("planter_orders_url", self.planter_orders_port),
        ):
            if not getattr(self, name):
                object.__setattr__(self, name, (f"http://localhost:{port}",))
        return self

    def addresses(self) -> dict[str, tuple[str, ...]]:
        """Return where each service is reached, by its name."""
        return {
            "auth-verify": self.auth_service_url,
            "temp-image": self.temp_image_url,
            "media-store": self.media_store_url,
            "checkout": self.checkout_url,
            "planter-orders": self.planter_orders_url,
        }
