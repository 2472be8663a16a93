"""The entities and rules of checkout: pure, and asking nobody."""
