"""Orders and their rules, without any framework."""
