"""The use cases: accounts, sessions and their tokens, organisations."""
