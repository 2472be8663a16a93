"""Checks JSON against the types that the installed Stripe SDK declares for its objects."""

from __future__ import annotations

import inspect
from decimal import Decimal
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import stripe
from stripe import Charge, Dispute, Event, LineItem, ListObject, PaymentIntent, Refund, StripeObject
from stripe.checkout import Session

KINDS: dict[str, Any] = {
    kind.OBJECT_NAME: kind for kind in (Charge, Dispute, Event, LineItem, PaymentIntent, Refund, Session)
}


def faults_of(value: Any, hint: Any, path: str = "$") -> list[str]:  # noqa: PLR0911 - one for each kind of type
    """Return what in `value` is not as the SDK's type `hint` has it, one sentence each; an empty list is a match."""
    if isinstance(hint, (str, ForwardRef)):
        name = hint if isinstance(hint, str) else hint.__forward_arg__
        return faults_of(value, getattr(stripe, name), path)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union:
        return _faults_of_union(value, arguments, path)
    if origin is Literal:
        return [] if value in arguments else [f"{path} is none of the values allowed"]
    if origin is list:
        return _faults_of_list(value, arguments[0], path)
    if origin is ListObject:
        return _faults_of_page(value, arguments[0], path)
    if hint is Any:
        return []
    if origin is not None:  # an object with names of the user's own, such as metadata
        return [] if isinstance(value, dict) else [f"{path} is no object"]
    if inspect.isclass(hint) and issubclass(hint, StripeObject):
        return _faults_of_object(value, hint, path)
    expected = str if hint is Decimal else hint
    return [] if type(value) is expected else [f"{path} is {type(value).__name__}, not {expected.__name__}"]


def _faults_of_union(value: Any, options: tuple[Any, ...], path: str) -> list[str]:
    if value is None:
        return [] if type(None) in options else [f"{path} is null"]
    if isinstance(value, str) and any(get_origin(option) is Literal for option in options):
        # `Literal[…] | str` leaves room for what a later version adds; this version has these values alone
        options = tuple(option for option in options if option is not str)
    found = [faults_of(value, option, path) for option in options if option is not type(None)]
    return min(found, key=len)


def _faults_of_list(value: Any, item: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path} is no list"]
    return [fault for position, one in enumerate(value) for fault in faults_of(one, item, f"{path}[{position}]")]


def _faults_of_page(value: Any, item: Any, path: str) -> list[str]:
    if (
        not isinstance(value, dict)
        or value.keys() != {"object", "data", "has_more", "url"}
        or value["object"] != "list"
    ):
        return [f"{path} is no list object"]
    return [
        *_faults_of_list(value["data"], item, f"{path}.data"),
        *faults_of(value["has_more"], bool, f"{path}.has_more"),
        *faults_of(value["url"], str, f"{path}.url"),
    ]


def _faults_of_object(value: Any, kind: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is no {kind.__name__}"]
    hints = {name: hint for name, hint in kind.__annotations__.items() if not name.isupper()}
    faults = [f"{path}.{name} is not in the SDK" for name in value if name not in hints]
    for name, hint in hints.items():
        if name in value:
            faults += faults_of(value[name], hint, f"{path}.{name}")
        elif type(None) not in get_args(hint):
            faults.append(f"{path}.{name} is missing")
    return faults
