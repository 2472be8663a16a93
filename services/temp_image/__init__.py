"""Temporary images: an upload that survives a payment redirect and is handed back exactly once."""
