"""Where objects are kept, and the bucket that they are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from shared.settings.addresses import Domain, Url, matching
from shared.settings.parts import SettingsPart

BucketName = Annotated[str, matching(r"[A-Za-z0-9._-]*", "letters, digits, dots, _ and - alone")]


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
    """Where images that are kept go: `local` (in `DATA_DIR`), `s3` or `r2`. Example: `s3`"""
    s3_bucket: BucketName = ""
    """The bucket of `s3`. Example: `shop-images`"""
    s3_endpoint_url: Url = ""
    """Another S3 server than AWS, or another address of R2. Example: `https://s3.shop.example`"""
    aws_region: Annotated[str, matching(r"[A-Za-z0-9-]+", "letters, digits and - alone")] = "us-east-1"
    """The region of the bucket. Example: `eu-central-1`"""
    aws_access_key_id: str = Field("", repr=False)
    """The key of the bucket; without one, the SDK finds its credentials itself. Example: `AKIAIOSFODNN7EXAMPLE`"""
    aws_secret_access_key: str = Field("", repr=False)
    """The key's secret. Example: `wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY`"""
    aws_session_token: str = Field("", repr=False)
    """With temporary credentials only. Example: `FwoGZXIvYXdzEXAMPLE`"""
    cdn_url: Domain = ""
    """Where the public reads images, past Keepsake. Empty: under `/media/`. Example: `https://cdn.shop.example`"""
    r2_account_id: Annotated[str, matching(r"[A-Za-z0-9.-]*", "letters, digits, dots and - alone")] = ""
    """The account of `r2`. Example: `0123456789abcdef0123456789abcdef`"""
    r2_access_key_id: str = Field("", repr=False)
    """The key of `r2`. Example: `0123456789abcdef`"""
    r2_secret_access_key: str = Field("", repr=False)
    """The key's secret. Example: `0123456789abcdef0123456789abcdef`"""
    r2_bucket_name: BucketName = ""
    """The bucket of `r2`. Example: `shop-images`"""
    r2_public_domain: Domain = ""
    """The bucket's public domain; it comes before `CDN_URL`. Example: `images.shop.example`"""

    def problems(self) -> Iterator[str]:
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
