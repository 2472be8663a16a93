"""Which currencies there are, how many decimals their amounts have, and which amounts Stripe takes."""

from __future__ import annotations

from stripe_sandbox.errors import StripeError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUPPORTED = _words(
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp"
    " cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk"
    " jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn"
    " nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std"
    " szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw"
)
ZERO_DECIMAL = _words("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
THREE_DECIMAL = _words("bhd jod kwd omr tnd")
# Without a fraction in life, with two decimals in the API: the last two digits must be 0.
WHOLE_IN_HUNDREDTHS = frozenset({"isk", "ugx"})
# Stripe publishes these; any other currency's minimum follows an exchange rate, so that only 0 is refused here.
MINIMUM = {
    "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30,
    "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50, "pln": 200,
    "ron": 200, "sek": 300, "sgd": 50, "thb": 1000, "usd": 50,
}  # fmt: skip
MAXIMUM = 99_999_999


def decimals(currency: str) -> int:
    """Return how many of an amount's digits stand behind the decimal point."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def format_amount(amount_minor: int, currency: str) -> str:
    """Write an amount for people: `2.00 USD`, `300 JPY`, `1.500 KWD`."""
    places = decimals(currency)
    whole, fraction = divmod(amount_minor, 10**places)
    return f"{whole:,}{f'.{fraction:0{places}}' if places else ''} {currency.upper()}"


def require_currency(currency: str, param: str) -> str:
    """Return the currency in lower case; raise StripeError for one that Stripe does not take."""
    lowered = currency.lower()
    if lowered not in SUPPORTED:
        raise StripeError("Invalid currency: not one that is supported for payments.", param=param)
    return lowered


def require_step(amount_minor: int, currency: str, param: str) -> None:
    """Refuse an amount finer than the currency's smallest payable step."""
    step = 10 if currency in THREE_DECIMAL else 100 if currency in WHOLE_IN_HUNDREDTHS else 1
    if amount_minor % step:
        message = f"Invalid amount. Amounts in {currency.upper()} must be a multiple of {step}."
        raise StripeError(message, param=param, code="parameter_invalid_integer")


def require_total(amount_minor: int, currency: str) -> None:
    """Refuse a total that is too small or too large to be charged."""
    minimum = MINIMUM.get(currency, 1)
    if amount_minor < minimum:
        raise StripeError(
            f"The Checkout Session's total amount due must be at least {format_amount(minimum, currency)}.",
            code="amount_too_small",
        )
    if amount_minor > MAXIMUM:
        raise StripeError(
            f"The Checkout Session's total amount due must be no more than {format_amount(MAXIMUM, currency)}.",
            code="amount_too_large",
        )
