"""What is sold, and for how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import FieldError, NotAllowedValue

DEFAULT_SKU = "hero-me-board"
ORDER_SKU = "pet-planter"
DEFAULT_CURRENCY = "usd"
# Stripe takes these only in steps: three decimals with the last one 0, or hundredths of what has no fraction.
STEPS = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}


def _refusal(field: str, message: str, code: str) -> NotAllowedValue:
    return NotAllowedValue(f"{field}: {message}.", code, errors=(FieldError(field, message),))


class Purpose(StrEnum):
    """What a product is made from."""

    IMAGE = "image"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Product:
    """One thing for sale; `prices` are minor units of each currency for one piece."""

    sku: str
    name: str
    description: str
    max_quantity: int
    purpose: Purpose
    prices: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All products by sku; the only source of prices."""

    products: Mapping[str, Product]

    def choose(self, *, sku: str | None, quantity: int, currency: str, for_order: bool) -> Cart:
        """Return the cart, or raise NotAllowedValue for what is not sold like that."""
        product = self.products.get(self._default_sku(for_order=for_order) if sku is None else sku)
        if product is None or (product.purpose is Purpose.ORDER) is not for_order:
            raise _refusal("sku", "there is no such product", "unknown_sku")
        if not 1 <= quantity <= product.max_quantity:
            raise _refusal("quantity", f"must be from 1 to {product.max_quantity}", "quantity_not_allowed")
        if currency not in product.prices:
            raise _refusal("currency", "the product is not sold in this currency", "currency_not_allowed")
        return Cart(product, quantity, currency)

    def _default_sku(self, *, for_order: bool) -> str:
        default = ORDER_SKU if for_order else DEFAULT_SKU
        fitting = [sku for sku, product in self.products.items() if (product.purpose is Purpose.ORDER) is for_order]
        return default if default in fitting or not fitting else fitting[0]


@dataclass(frozen=True, slots=True)
class Cart:
    """A product, how many of it, and the currency it is paid in."""

    product: Product
    quantity: int
    currency: str

    @property
    def unit_amount(self) -> int:
        """The price of one piece, in minor units."""
        return self.product.prices[self.currency]
