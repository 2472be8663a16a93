"""Checkout's ports over SQL, Stripe's SDK and HTTP."""
