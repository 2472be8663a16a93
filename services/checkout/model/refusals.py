"""The refusals of checkout that more than one place gives."""

from __future__ import annotations

from shared.errors import Conflict, KeepsakeError, NotAllowedValue, NotFound, Unavailable


class PaymentProviderUnavailable(Unavailable):
    """Stripe does not answer, or is busy; whether it did what was asked is not known."""

    def __init__(self, *, replayed: bool = False) -> None:
        """Remember whether it was the stored failure of an idempotency key, which no retry with that key can mend."""
        super().__init__(
            "The payment provider is not available right now. Please try again shortly.",
            code="payment_provider_unavailable",
            retry_after_s=2,
        )
        self.replayed = replayed


class PaymentProviderRefused(KeepsakeError):
    """Stripe answered, and refuses what we ask: our mistake or our settings'; `refusal` is Stripe's own code."""

    status = 502
    default_code = "payment_provider_unavailable"

    def __init__(self, refusal: str = "") -> None:
        """Use one sentence for all of them; the log has the cause."""
        super().__init__("The payment provider did not accept the request. Please try again later.")
        self.refusal = refusal


def unknown_session() -> NotFound:
    """Return the refusal of a session that is not there, or is not the caller's."""
    return NotFound("There is no such checkout session.", "session_not_found")


def unknown_order() -> NotFound:
    """Return the refusal of an order that is not there, or is not the caller's."""
    return NotFound("There is no such order.", "order_not_found")


def image_unavailable() -> Conflict:
    """Return the refusal of an image that cannot be bought any more."""
    return Conflict("The image is not available any more. Please upload it again.", "image_unavailable")


def order_paid() -> Conflict:
    return Conflict("This order has been paid, or is being paid, already.", "order_paid")


def not_in_review() -> Conflict:
    """Return the refusal to decide about a payment that waits for no decision, or about which somebody just decided."""
    return Conflict("This payment does not need review.", "not_in_review")


def order_refuses(status: str | None) -> Conflict:
    """Return the refusal to fulfil the payment of an order that is `status`, or not there any more."""
    what = "not there any more" if status is None else status.replace("_", " ")
    return Conflict(
        f"The order is {what} and does not take the payment. It can only be given back.", "order_not_payable"
    )


def image_gone() -> Conflict:
    """Return the refusal to fulfil a payment whose image nobody has."""
    return Conflict("The image of this payment is gone. The payment can only be given back.", "image_gone")


def refund_too_large() -> NotAllowedValue:
    return NotAllowedValue.of("amount", "amount: more than is left of the payment.", "refund_too_large")
