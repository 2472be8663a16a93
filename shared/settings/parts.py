"""The settings parts that services compose: frozen, read once from the environment and `.env`, as docs/contract.md names them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.settings.addresses import DatabaseUrl, Origins, RedisUrl, Url, Urls, is_origin, matching, split_words

SHORTEST_PRODUCTION_SECRET = 32
DEFAULT_SECRET_WORDS = ("change-me", "changeme", "your-secret-key", "secret", "development")

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(split_words)]
Port = Annotated[int, Field(ge=1, le=65535)]
OnOff = Literal["on", "off"]
JwtAlgorithm = Literal["HS256", "EdDSA", "ES256", "RS256"]


def per_service(setting: str, service: str, default: Any) -> Any:
    """Return a field read from `<SERVICE>_<SETTING>`, else from `<SETTING>`."""
    return Field(default, validation_alias=AliasChoices(f"{service}_{setting}", setting))


class SettingsPart(BaseSettings):
    """What every part shares: environment over `.env`, empty counts as unset, unknown names are others' business."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=".env",
        extra="ignore",
        env_ignore_empty=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    def __init__(self, **values: Any) -> None:
        """Read and check; raises one ValidationError for all that is wrong about how the settings fit together."""
        super().__init__(**values)
        found: list[InitErrorDetails] = [
            {"type": PydanticCustomError("setting", "{problem}", {"problem": problem}), "input": None}
            for problem in self.problems()
        ]
        if found:
            raise ValidationError.from_exception_data(type(self).__name__, found)

    @classmethod
    def read(cls, **values: Any) -> Self:
        """Read without asking how the settings fit together; raises ValidationError for what is none of its kind."""
        settings = cls.__new__(cls)
        BaseSettings.__init__(settings, **values)
        return settings

    def problems(self) -> Iterator[str]:
        """Say what does not fit together, each part what it knows of.

        A sentence each, without a full stop, that begins with the setting's name.
        """
        yield from ()

    @property
    def needs_data_dir(self) -> bool:
        return False


class ServerSettings(SettingsPart):
    """Where a process listens, who its browsers are, and where it keeps its files.

    A service adds its own `port` with the alias of its setting.
    """

    environment: Literal["development", "production"] = "development"
    """`production` refuses weak secrets, a `PUBLIC_URL` without https, the Stripe sandbox and open CORS.
    Example: `production`
    """
    host: Annotated[str, matching(r"[A-Za-z0-9._:%-]+", "a name or an address of this machine")] = "localhost"
    """Where every process listens; `localhost` is both loopbacks. Example: `0.0.0.0`"""
    port: Port = 8080
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes of each service on one port; `<SERVICE>_WORKERS`, such as `TEMP_IMAGE_WORKERS`, for one.
    Example: `2`
    """
    public_url: Url = "http://localhost:8080"
    """How browsers reach the gateway. Example: `https://images.shop.example`"""
    frontend_url: Url = "http://localhost:3000"
    """The shop: browsers come back to it from a payment. Example: `https://shop.example`"""
    cors_origins: Origins = ()
    """Origins that may call from a browser, comma-separated. Empty: `FRONTEND_URL`.
    Example: `https://shop.example,https://www.shop.example`
    """
    trusted_proxies: Networks = ()
    """Networks of the proxies whose `X-Forwarded-For` counts, comma-separated. Example: `10.0.0.0/8,fd00::/8`"""
    data_dir: Path = Path("var")
    """Everything the embedded defaults keep, and uploads on their way. Example: `/var/lib/keepsake`"""

    @property
    def folders(self) -> Mapping[str, Path]:
        """The folders that the process writes into, by the names of their settings."""
        return {"DATA_DIR": self.data_dir} if self.needs_data_dir else {}

    @model_validator(mode="after")
    def _follow_urls(self) -> Self:
        for name in ("public_url", "frontend_url"):
            object.__setattr__(self, name, getattr(self, name).rstrip("/"))
        if not self.cors_origins:
            shop = urlsplit(self.frontend_url)
            object.__setattr__(self, "cors_origins", (f"{shop.scheme}://{shop.netloc}",))
        return self

    def problems(self) -> Iterator[str]:
        """Check the origins, and what production asks for."""
        yield from super().problems()
        if any(origin != "*" and not is_origin(origin) for origin in self.cors_origins):
            yield "CORS_ORIGINS must be origins such as https://shop.example, separated by commas, or *"
        if self.environment == "production":
            if "*" in self.cors_origins:
                yield "CORS_ORIGINS must not be * in production"
            if not self.public_url.startswith("https://"):
                yield "PUBLIC_URL must begin with https:// in production"


def missing(name: str, source: str = "`make run` writes one") -> str:
    """Say that a secret is missing, and where one comes from."""
    return f"{name} is missing: set it in the environment or in .env ({source})"


def _weakness(name: str, secret: str, environment: str) -> Iterator[str]:
    if not secret:
        yield missing(name)
    elif environment == "production" and (
        len(secret) < SHORTEST_PRODUCTION_SECRET or any(word == secret.lower() for word in DEFAULT_SECRET_WORDS)
    ):
        yield f"{name} must be at least {SHORTEST_PRODUCTION_SECRET} random characters in production"


class TracingSettings(SettingsPart):
    """Where traces go (OTLP over HTTP), if anywhere, and the share of requests that are traced."""

    otel_exporter_otlp_endpoint: Url = ""
    """A collector that takes traces (OpenTelemetry's OTLP over HTTP); needs `make install-otel`. Empty: no traces.
    Example: `http://localhost:4318`
    """
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The share of requests that is traced, 0 to 1. Example: `1`"""

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.otel_exporter_otlp_endpoint and not _has_exporter():
            yield "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry: make install-otel, or pip install 'keepsake[otel]'"


def _has_exporter() -> bool:
    try:
        return bool(version("opentelemetry-sdk") and version("opentelemetry-exporter-otlp-proto-http"))
    except PackageNotFoundError:
        return False


class TokenSettings(TracingSettings, ServerSettings):
    """How users' tokens and the services' own are signed and checked."""

    jwt_secret_key: str = Field("", repr=False)
    """Signs users' tokens with `HS256`. Random: `make run` makes one.
    Example: `at-least-32-random-characters-in-production`
    """
    jwt_algorithm: JwtAlgorithm = "HS256"
    """What users' tokens are signed with; all but `HS256` by keys that auth-verify makes and publishes.
    Example: `EdDSA`
    """
    jwt_issuer: str = "keepsake"
    """The `iss` of users' tokens. Example: `https://images.shop.example`"""
    jwt_audience: str = "keepsake"
    """The `aud` of users' tokens. Example: `shop`"""
    internal_secret: str = Field("", repr=False)
    """Signs calls between services, and seals the signing keys. Random: `make run` makes one.
    Example: `another-32-random-characters-at-the-least`
    """
    # By its alias, as auth-verify has its own port: of two names of one variable pydantic-settings takes but one.
    auth_verify_port: Port = Field(8000, validation_alias="AUTH_VERIFY_PORT")
    auth_service_url: Urls = ()  # empty: on this machine, at auth-verify's port
    """Where auth-verify is reached; several addresses, comma-separated, are balanced. Empty: on this machine, at its
    port.
    Example: `http://10.0.0.5:8000,http://10.0.0.6:8000`
    """

    @model_validator(mode="after")
    def _follow_port(self) -> Self:
        if not self.auth_service_url:
            object.__setattr__(self, "auth_service_url", (f"http://localhost:{self.auth_verify_port}",))
        return self

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.jwt_algorithm == "HS256":
            yield from _weakness("JWT_SECRET_KEY", self.jwt_secret_key, self.environment)
        yield from _weakness("INTERNAL_SECRET", self.internal_secret, self.environment)
        if self.environment == "production" and self.internal_secret and self.internal_secret == self.jwt_secret_key:
            yield "INTERNAL_SECRET must differ from JWT_SECRET_KEY in production"


class ImageSettings(SettingsPart):
    """How large an image may be, in pixels and frames, and whether HEIC is taken."""

    max_image_pixels: Annotated[int, Field(ge=1)] = 64_000_000
    """The most pixels of an image, over all its frames. Example: `100000000`"""
    max_image_frames: Annotated[int, Field(ge=1)] = 100
    """The most frames of an animation. Example: `50`"""
    heic_uploads: OnOff = "off"
    """Whether phones' HEIC is taken; `on` needs `make install-heic`. Example: `on`"""

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.heic_uploads == "on" and not _has_heic_decoder():
            yield "HEIC_UPLOADS=on needs pillow-heif 1.8.1 or newer: make install-heic, or pip install 'keepsake[heic]'"


def _has_heic_decoder() -> bool:
    """Tell whether the extra is installed, and not a release with a libheif of known holes."""
    try:
        numbers = version("pillow-heif").split(".")
    except PackageNotFoundError:
        return False
    return [int(number) for number in numbers[:3] if number.isdigit()] >= [1, 8, 1]


class RedisSettings(SettingsPart):
    """The Redis to use, if any: `redis://`, `rediss://` or `unix://`."""

    redis_url: RedisUrl = ""
    """Temporary images, rate limits and ended sessions. Empty: on disk, and limits in process.
    Example: `redis://10.0.0.7:6379/0`
    """


class DatabaseSettings(SettingsPart):
    """The database: empty means SQLite in `DATA_DIR`."""

    database_url: DatabaseUrl = ""
    """The tables. Empty: SQLite in `DATA_DIR`; `<SERVICE>_DATABASE_URL`, such as `CHECKOUT_DATABASE_URL`, for one
    service.
    Example: `postgresql+asyncpg://keepsake:password@10.0.0.8/keepsake`
    """
