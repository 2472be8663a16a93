"""The catalogue: built in, or a TOML file, checked whole before anything is sold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.checkout.model.catalogue import (
    DEFAULT_SKU,
    ORDER_SKU,
    STEPS,
    Catalogue,
    Product,
    Purpose,
)

CURRENCY = re.compile(r"[a-z]{3}")
MAX_AMOUNT = 99_999_999  # Stripe's most for one charge, in minor units


class CatalogueInvalid(ValueError):
    """The file cannot be used; the message says why."""


class _Product(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    sku: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    name: str = Field(min_length=1, max_length=250)
    description: str = Field("", max_length=1000)
    max_quantity: Annotated[int, Field(ge=1, le=999_999)] = 10
    purpose: Annotated[Purpose, Field(alias="for", strict=False)] = Purpose.IMAGE
    prices: dict[str, Annotated[int, Field(ge=1, le=MAX_AMOUNT)]] = Field(min_length=1)

    @field_validator("prices")
    @classmethod
    def _check_prices(cls, prices: dict[str, int]) -> dict[str, int]:
        for currency, amount in prices.items():
            if not CURRENCY.fullmatch(currency):
                raise ValueError(f"{currency!r} is no currency: three lower-case letters")
            if amount % STEPS.get(currency, 1):
                raise ValueError(f"{currency}: Stripe takes amounts in steps of {STEPS[currency]} minor units")
        return prices

    @model_validator(mode="after")
    def _check_total(self) -> Self:
        if max(self.prices.values()) * self.max_quantity > MAX_AMOUNT:
            raise ValueError("max_quantity pieces cost more than can be charged at once")
        return self

    def as_product(self) -> Product:
        return Product(self.sku, self.name, self.description, self.max_quantity, self.purpose, self.prices)


class _Catalogue(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    product: list[_Product] = Field(min_length=1)


BUILT_IN = Catalogue(
    {
        DEFAULT_SKU: Product(
            DEFAULT_SKU,
            "Hero Me Feelings - Personalized AAC Board",
            "A board of feelings, drawn with the child's own photo.",
            10,
            Purpose.IMAGE,
            {"usd": 200},
        ),
        ORDER_SKU: Product(
            ORDER_SKU,
            "Custom Pet Planter",
            "A 3D planter made after photos of your pet.",
            10,
            Purpose.ORDER,
            {"usd": 4900},
        ),
    }
)


def read_catalogue(path: Path | None) -> Catalogue:
    """Return the catalogue at `path`, or the built-in one where there is no path. Raises CatalogueInvalid."""
    if path is None:
        return BUILT_IN
    try:
        with path.open("rb") as file:
            products = _Catalogue.model_validate(tomllib.load(file)).product
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueInvalid(f"the file cannot be read as TOML ({type(error).__name__})") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CatalogueInvalid(f"{where}: {first['msg']}") from error
    by_sku = {product.sku: product.as_product() for product in products}
    if len(by_sku) != len(products):
        raise CatalogueInvalid("a sku occurs twice")
    return Catalogue(by_sku)
