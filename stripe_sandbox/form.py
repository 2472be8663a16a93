"""Stripe's form encoding, `a[b][0]=c`, parsed into nested dictionaries of text."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from stripe_sandbox.errors import StripeError

MAX_FIELDS = 1000
MAX_DEPTH = 8
KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")

Tree = dict[str, Any]


def parse_form(encoded: bytes) -> Tree:
    """Parse a body or a query string; lists are dictionaries with the keys `0`, `1`, … here.

    Raises StripeError for bytes that are not UTF-8 or no form, for too much or too deep nesting, and for a name with two values.
    """
    tree: Tree = {}
    for key, value in parse_pairs(encoded):
        match = KEY.fullmatch(key)
        if match is None:
            square = key.startswith(("metadata[", "payment_intent_data[metadata]["))
            message = "Square brackets are not allowed in metadata keys." if square else "Invalid parameter name."
            raise StripeError(message, param="metadata" if square else None)
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) > MAX_DEPTH:
            raise StripeError("Invalid request: the parameters are nested too deeply.")
        _place(tree, path, value, key)
    return tree


def parse_pairs(encoded: bytes) -> list[tuple[str, str]]:
    """Split into decoded names and values, in the order sent."""
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(encoded),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise StripeError("Invalid request: the parameters are not a readable form.") from None
    if any("\0" in text for pair in pairs for text in pair):
        raise StripeError("Invalid request: the parameters contain a NUL character.")
    return pairs


def _place(tree: Tree, path: list[str], value: str, key: str) -> None:
    for segment in path[:-1]:
        tree = tree.setdefault(segment, {}) if segment else tree
        if not segment or not isinstance(tree, dict):
            raise StripeError("Invalid request: the parameters contradict each other.", param=key)
    name = path[-1] or str(len(tree))
    if name in tree:
        raise StripeError("Invalid request: a parameter was sent twice.", param=key)
    tree[name] = value
