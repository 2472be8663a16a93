"""Stored images and their rules, without any framework."""
