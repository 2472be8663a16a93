"""What each call does, from the request to the answer."""

from services.checkout.handlers import payments, review, sessions
from shared.app.erasure import ERASURE_ROUTE

ROUTES = (*sessions.ROUTES, *payments.ROUTES, *review.ROUTES, ERASURE_ROUTE)
