"""The settings parts that services compose: frozen, read once from the environment and `.env`, as docs/contract.md names them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.settings.addresses import DatabaseUrl, Domain, Origins, RedisUrl, Url, Urls, is_origin, split_words

SHORTEST_PRODUCTION_SECRET = 32
DEFAULT_SECRET_WORDS = ("change-me", "changeme", "your-secret-key", "secret", "development")

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(split_words)]
Port = Annotated[int, Field(ge=1, le=65535)]
BucketName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")]
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
        """Whether the process writes into `DATA_DIR`."""
        return False


class ServerSettings(SettingsPart):
    """Where a process listens, who its browsers are, and where it keeps its files.

    A service adds its own `port` with the alias of its setting.
    """

    environment: Literal["development", "production"] = "development"
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:%-]+$")] = "localhost"
    port: Port = 8080
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    public_url: Url = "http://localhost:8080"
    frontend_url: Url = "http://localhost:3000"
    cors_origins: Origins = ()
    trusted_proxies: Networks = ()
    data_dir: Path = Path("var")

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


def missing(name: str) -> str:
    """Say that a secret is missing."""
    return f"{name} is missing: set it in the environment or in .env (`make run` writes one)"


def _weakness(name: str, secret: str, environment: str) -> Iterator[str]:
    if not secret:
        yield missing(name)
    elif environment == "production" and (
        len(secret) < SHORTEST_PRODUCTION_SECRET or any(word == secret.lower() for word in DEFAULT_SECRET_WORDS)
    ):
        yield f"{name} must be at least {SHORTEST_PRODUCTION_SECRET} random characters in production"


class TokenSettings(ServerSettings):
    """How users' tokens and the services' own are signed and checked."""

    jwt_secret_key: str = Field("", repr=False)
    jwt_algorithm: JwtAlgorithm = "HS256"
    jwt_issuer: str = "keepsake"
    jwt_audience: str = "keepsake"
    internal_secret: str = Field("", repr=False)
    # By its alias, as auth-verify has its own port: of two names of one variable pydantic-settings takes but one.
    auth_verify_port: Port = Field(8000, validation_alias="AUTH_VERIFY_PORT")
    auth_service_url: Urls = ()  # empty: on this machine, at auth-verify's port

    @model_validator(mode="after")
    def _follow_port(self) -> Self:
        if not self.auth_service_url:
            object.__setattr__(self, "auth_service_url", (f"http://localhost:{self.auth_verify_port}",))
        return self

    def problems(self) -> Iterator[str]:
        """Check the secrets."""
        yield from super().problems()
        if self.jwt_algorithm == "HS256":
            yield from _weakness("JWT_SECRET_KEY", self.jwt_secret_key, self.environment)
        yield from _weakness("INTERNAL_SECRET", self.internal_secret, self.environment)
        if self.environment == "production" and self.internal_secret and self.internal_secret == self.jwt_secret_key:
            yield "INTERNAL_SECRET must differ from JWT_SECRET_KEY in production"


class ImageSettings(SettingsPart):
    """How large an image may be, in pixels and frames, and whether HEIC is taken."""

    max_image_pixels: Annotated[int, Field(ge=1)] = 64_000_000
    max_image_frames: Annotated[int, Field(ge=1)] = 100
    heic_uploads: OnOff = "off"

    def problems(self) -> Iterator[str]:
        """Check that HEIC can be decoded where it is taken."""
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


class DatabaseSettings(SettingsPart):
    """The database: empty means SQLite in `DATA_DIR`."""

    database_url: DatabaseUrl = ""


@dataclass(frozen=True)
class Bucket:
    """A bucket and how to reach it; without `endpoint_url` it is AWS's own, without keys the SDK finds its credentials."""

    name: str
    region: str
    endpoint_url: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The address that a key is appended to."""
        if self.endpoint_url:
            return f"{self.endpoint_url}/{self.name}/"
        host = f"s3.{self.region}.amazonaws.com"
        # A name with a dot would not match the certificate of *.s3.<region>.amazonaws.com.
        return f"https://{host}/{self.name}/" if "." in self.name else f"https://{self.name}.{host}/"


class StorageSettings(SettingsPart):
    """Where objects are kept: a folder of `DATA_DIR`, S3, or R2."""

    data_dir: Path = Path("var")
    storage_backend: Literal["local", "s3", "r2"] = "local"
    s3_bucket: BucketName = ""
    s3_endpoint_url: Url = ""
    aws_region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "us-east-1"
    aws_access_key_id: str = Field("", repr=False)
    aws_secret_access_key: str = Field("", repr=False)
    aws_session_token: str = Field("", repr=False)
    cdn_url: Domain = ""
    r2_account_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]*$")] = ""
    r2_access_key_id: str = Field("", repr=False)
    r2_secret_access_key: str = Field("", repr=False)
    r2_bucket_name: BucketName = ""
    r2_public_domain: Domain = ""

    def problems(self) -> Iterator[str]:
        """Check that the backend has all it needs."""
        yield from super().problems()
        needed = {
            "local": (),
            "s3": ("s3_bucket", *(("aws_access_key_id", "aws_secret_access_key") if self._has_aws_key else ())),
            "r2": (
                *(() if self.s3_endpoint_url else ("r2_account_id",)),
                "r2_access_key_id",
                "r2_secret_access_key",
                "r2_bucket_name",
            ),
        }
        for name in needed[self.storage_backend]:
            if not getattr(self, name):
                yield f"{name.upper()} is missing: STORAGE_BACKEND={self.storage_backend} needs it"

    @property
    def _has_aws_key(self) -> bool:
        return bool(self.aws_access_key_id or self.aws_secret_access_key)

    @property
    def bucket(self) -> Bucket:
        """The bucket of s3 or r2."""
        endpoint_url = self.s3_endpoint_url.rstrip("/")
        if self.storage_backend == "r2":
            endpoint_url = endpoint_url or f"https://{self.r2_account_id}.r2.cloudflarestorage.com"
            return Bucket(self.r2_bucket_name, "auto", endpoint_url, self.r2_access_key_id, self.r2_secret_access_key)
        keys = (self.aws_access_key_id, self.aws_secret_access_key, self.aws_session_token)
        return Bucket(self.s3_bucket, self.aws_region, endpoint_url, *(keys if self._has_aws_key else ()))

    @property
    def public_base_url(self) -> str:
        """Where the public reads objects past this system, without a slash at the end; empty where nowhere."""
        domain = (self.storage_backend == "r2" and self.r2_public_domain) or self.cdn_url
        return ("" if not domain or "://" in domain else "https://") + domain.rstrip("/")
