"""What checkout keeps and asks: SQL, Stripe's SDK, HTTP."""
