"""What counts as an image: signatures, header facts, limits, metadata, and the workers that decode."""
