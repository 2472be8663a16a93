"""Checks of the tree."""
