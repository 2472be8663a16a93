"""What each call does, from the request to the answer."""

from services.checkout.handlers import payments, sessions

ROUTES = (*sessions.ROUTES, *payments.ROUTES)
