"""The use cases of checkout."""

from dataclasses import dataclass

from services.checkout.service.fulfilment import Fulfilment
from services.checkout.service.queries import Queries
from services.checkout.service.reconcile import Reconciliation
from services.checkout.service.refunds import Refunds
from services.checkout.service.review import Review
from services.checkout.service.session_opener import SessionOpener
from services.checkout.service.sweeper import Sweeper
from services.checkout.service.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class CheckoutService:
    """All of them together."""

    opener: SessionOpener
    queries: Queries
    webhooks: Webhooks
    refunds: Refunds
    review: Review
    fulfilment: Fulfilment
    reconciliation: Reconciliation
    sweeper: Sweeper
