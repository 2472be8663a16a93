"""A stateful, strict stand-in for the Stripe API, for development: no real money moves."""
