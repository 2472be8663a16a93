"""The use cases of checkout."""

from dataclasses import dataclass

from services.checkout.service.create_session import Opening
from services.checkout.service.fulfilment import Settlement
from services.checkout.service.outbox import Outbox
from services.checkout.service.queries import Viewing
from services.checkout.service.reconcile import Reconciliation
from services.checkout.service.refunds import Refunding
from services.checkout.service.sweeper import Sweeper
from services.checkout.service.webhooks import Webhooks

__all__ = [
    "CheckoutService",
    "Opening",
    "Outbox",
    "Reconciliation",
    "Refunding",
    "Settlement",
    "Sweeper",
    "Viewing",
    "Webhooks",
]


@dataclass(frozen=True, slots=True)
class CheckoutService:
    """All of them together."""

    opening: Opening
    viewing: Viewing
    webhooks: Webhooks
    refunding: Refunding
    settlement: Settlement
    sweeper: Sweeper
