"""How amounts are written, and the smallest and largest that Stripe takes."""

from __future__ import annotations

import re

from stripe_sandbox.errors import StripeError

ZERO_DECIMAL = re.compile("bif|clp|djf|gnf|jpy|kmf|krw|mga|pyg|rwf|vnd|vuv|xaf|xof|xpf")
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
MINIMUM = {"usd": 50, "eur": 50, "gbp": 30}  # other currencies' follow exchange rates: of those, only 0 is refused
MAXIMUM = 99_999_999


def format_amount(amount_minor: int, currency: str) -> str:
    """Write an amount for people: `2.00 USD`, `300 JPY`, `1.500 KWD`."""
    places = 0 if ZERO_DECIMAL.fullmatch(currency) else 3 if currency in THREE_DECIMAL else 2
    whole, fraction = divmod(amount_minor, 10**places)
    return f"{whole:,}{f'.{fraction:0{places}}' if places else ''} {currency.upper()}"


def require_step(amount_minor: int, currency: str, param: str) -> None:
    """Refuse an amount finer than the currency's smallest payable step: the third decimal must be 0."""
    if currency in THREE_DECIMAL and amount_minor % 10:
        message = f"Invalid amount. Amounts in {currency.upper()} must be a multiple of 10."
        raise StripeError(message, param=param, code="parameter_invalid_integer")


def require_total(amount_minor: int, currency: str) -> None:
    """Refuse a total that is too small or too large to be charged."""
    minimum = MINIMUM.get(currency, 1)
    if not minimum <= amount_minor <= MAXIMUM:
        small = amount_minor < minimum
        bound = (
            f"at least {format_amount(minimum, currency)}" if small else f"at most {format_amount(MAXIMUM, currency)}"
        )
        message = f"The Checkout Session's total amount due must be {bound}."
        raise StripeError(message, code="amount_too_small" if small else "amount_too_large")
