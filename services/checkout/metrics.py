"""What checkout counts beside what every process counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from services.checkout.model.sessions import CheckoutSession, State
from shared.metrics import begin_at_zero

PAYMENTS = Counter(
    "keepsake_payments_total", "Checkout sessions by each state they came into, as the shop's owner sees it.", ["state"]
)
begin_at_zero(PAYMENTS, *State)
IN_REVIEW = Gauge("keepsake_payments_in_review", "Payments that need review: a person is to look at them.")
OVERDUE = Gauge("keepsake_payments_overdue", "Checkout sessions that were to be looked at over five minutes ago.")


def count_move(before: CheckoutSession | None, after: CheckoutSession) -> None:
    """Count a session that is new, or came into another state than before."""
    if before is None or after.shown_state is not before.shown_state:
        PAYMENTS.labels(after.shown_state).inc()
