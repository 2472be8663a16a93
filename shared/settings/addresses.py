"""Addresses among the settings: what is none stops the start, and not the first request that needs it."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

HOST_AND_PORT = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
URL = re.compile(rf"https?://(?:[^\s/?#@]+@)?{HOST_AND_PORT}(?:[/?#]\S*)?")
ORIGIN = re.compile(rf"https?://{HOST_AND_PORT}")  # RFC 6454: a scheme and a host, no path
REDIS = re.compile(r"rediss?://.+|unix://.+")
DOMAIN = re.compile(rf"(?=[^/]*\.){HOST_AND_PORT}(?:/\S*)?")


def split_words(value: Any) -> Any:
    """Turn a comma-separated setting into its non-empty, stripped items."""
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


def _origins(value: Any) -> Any:
    return tuple(item.rstrip("/") for item in split_words(value))


def _has_port(url: str) -> bool:
    """Tell whether the port of an address is one, or left out, and its IPv6 address one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def is_origin(text: str) -> bool:
    return ORIGIN.fullmatch(text) is not None and _has_port(text)


def _check_url(text: str) -> str:
    if text and not (URL.fullmatch(text) and _has_port(text)):
        raise ValueError("must be an address that begins with http:// or https://")
    return text


def _check_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        _check_url(url)
    return urls


def _check_domain(text: str) -> str:
    if "://" in text:
        return _check_url(text)
    if text and not (DOMAIN.fullmatch(text) and _has_port(f"//{text}")):
        raise ValueError("must be a domain, or an address that begins with http:// or https://")
    return text


def matching(pattern: str, words: str) -> AfterValidator:
    """Return the check of a setting's form, which `words` tell to whoever gets it wrong."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {words}")
        return text

    return AfterValidator(check)


def _check_redis(url: str) -> str:
    if url and not (REDIS.fullmatch(url) and _has_port(url)):
        raise ValueError("must be redis://host:port/database, rediss://… or unix://…")
    return url


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_words)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
Url = Annotated[str, AfterValidator(_check_url)]
Urls = Annotated[Words, AfterValidator(_check_urls)]
Domain = Annotated[str, AfterValidator(_check_domain)]
DatabaseUrl = Annotated[
    str,
    Field(repr=False),
    matching(r"(postgresql\+asyncpg|sqlite\+aiosqlite)://.+|", "postgresql+asyncpg://… or sqlite+aiosqlite://…"),
]
RedisUrl = Annotated[str, Field(repr=False), AfterValidator(_check_redis)]
