"""Checkout: Stripe sessions, their payment, and what a payment must fulfil."""
