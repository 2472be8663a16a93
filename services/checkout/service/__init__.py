"""The use cases of checkout."""

from dataclasses import dataclass

from services.checkout.service.opening import Opening
from services.checkout.service.outbox import Outbox
from services.checkout.service.reconciling import Reconciliation
from services.checkout.service.refunding import Refunding
from services.checkout.service.settling import Settlement
from services.checkout.service.sweeping import Sweeper
from services.checkout.service.viewing import Viewing
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
