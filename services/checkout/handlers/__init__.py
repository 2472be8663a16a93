"""What each call does, from the request to the answer."""

from services.checkout.handlers import payments, review, sessions

ROUTES = (*sessions.ROUTES, *payments.ROUTES, *review.ROUTES)
