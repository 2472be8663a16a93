"""What a request may say: checked against the parameter types of the installed SDK, so that the two cannot differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import stripe

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.form import Tree

MAX_TEXT = 5000
# By path, indexes left out; where Stripe's own limit is not the general one.
TEXT_LIMITS = {
    "client_reference_id": 200,
    "customer_email": 800,
    "line_items[price_data][product_data][name]": 250,
    "line_items[price_data][product_data][description]": 40_000,
}
LIST_LIMITS = {"line_items": 100}
MAX_METADATA_KEYS = 50
MAX_METADATA_KEY = 40
MAX_METADATA_VALUE = 500
INTEGER = re.compile(r"-?[0-9]{1,18}")


@cache
def fields_of(params: type) -> dict[str, Any]:
    """Return the parameters of one of the SDK's `…Params` types with their types, the SDK's own options left out."""
    names = {"Mapping": Mapping, "StripeContext": object}
    hints = get_type_hints(params, localns=names)
    options = getattr(stripe.RequestOptions, "__annotations__", {})
    return {name: hint for name, hint in hints.items() if name not in options}


def read_params(params: type, tree: Tree, path: str = "") -> dict[str, Any]:
    """Return `tree` with its values typed as `params` has them, or raise StripeError for the first that does not fit."""
    fields = fields_of(params)
    unknown = [_join(path, name) for name in tree if name not in fields]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        message = f"Received unknown parameter{plural}: {', '.join(unknown)}"
        raise StripeError(message, param=unknown[0], code="parameter_unknown")
    required: frozenset[str] = getattr(params, "__required_keys__", frozenset())
    for name in fields:
        if name in required and name not in tree:
            raise missing_param(_join(path, name))
    return {name: _read(fields[name], value, _join(path, name)) for name, value in tree.items()}


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _read(hint: Any, value: Any, path: str) -> Any:
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        return _read_union(get_args(hint), value, path)
    if origin is Literal:
        return _read_choice(get_args(hint), value, path)
    if origin is list:
        return _read_list(get_args(hint)[0], value, path)
    if origin is dict:
        return _read_metadata(value, path)
    if hasattr(hint, "__required_keys__"):
        if not isinstance(value, dict):
            raise StripeError("Invalid object", param=path)
        return read_params(hint, value, path)
    return _read_scalar(hint, value, path)


def _read_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    choices = [choice for option in options if get_origin(option) is Literal for choice in get_args(option)]
    if value == "" and "" in choices:
        return ""
    named = [choice for choice in choices if choice]
    if named:  # the SDK's `Literal[…] | str` leaves room for later values: this version of the API has only those named
        return _read_choice(named, value, path)
    nested = isinstance(value, dict)
    types = [option for option in options if get_origin(option) is not Literal]
    fitting = [option for option in types if nested == (option not in {str, int, bool})]
    return _read((fitting or types)[0], value, path)


def _read_choice(choices: Any, value: Any, path: str) -> str:
    if value not in choices:
        raise StripeError(f"Invalid {path}: must be one of {', '.join(sorted(choices))}", param=path)
    return str(value)


def _read_list(item: Any, value: Any, path: str) -> list[Any]:
    if not isinstance(value, dict) or not all(key.isascii() and key.isdecimal() and len(key) <= 4 for key in value):
        raise StripeError("Invalid array", param=path)
    limit = LIST_LIMITS.get(_without_indexes(path))
    if limit is not None and len(value) > limit:
        raise StripeError(f"Invalid array: {path} may have at most {limit} elements.", param=path)
    ordered = sorted(value, key=int)
    return [_read(item, value[key], f"{path}[{position}]") for position, key in enumerate(ordered)]


def _without_indexes(path: str) -> str:
    return re.sub(r"\[[0-9]+\]", "", path)


def _read_metadata(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise StripeError("Invalid metadata: metadata must be a set of key-value pairs.", param=path)
    if len(value) > MAX_METADATA_KEYS:
        raise StripeError(f"Metadata can have at most {MAX_METADATA_KEYS} keys.", param=path)
    for key, text in value.items():
        if len(key) > MAX_METADATA_KEY:
            raise StripeError(f"Metadata keys can have up to {MAX_METADATA_KEY} characters.", param=path)
        if not isinstance(text, str):
            raise StripeError("Metadata values must be strings.", param=path)
        if len(text) > MAX_METADATA_VALUE:
            raise StripeError(f"Metadata values can have up to {MAX_METADATA_VALUE} characters.", param=path)
    return {key: text for key, text in value.items() if text}  # an empty value unsets its key


def _read_scalar(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, str):
        raise StripeError("Invalid value: expected a single one.", param=path)
    if not value:
        message = f"You passed an empty string for '{path}'. Leave it out, or give it a value."
        raise StripeError(message, param=path, code="parameter_invalid_empty")
    if hint is bool:
        if value not in {"true", "false"}:
            raise StripeError("Invalid boolean: expected true or false.", param=path)
        return value == "true"
    if hint is int:
        if not INTEGER.fullmatch(value):
            raise StripeError("Invalid integer.", param=path, code="parameter_invalid_integer")
        return int(value)
    limit = TEXT_LIMITS.get(_without_indexes(path), MAX_TEXT)
    if len(value) > limit:
        raise StripeError(f"Invalid string: must be at most {limit} characters", param=path)
    return value
