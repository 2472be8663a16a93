"""Refusals in Stripe's words: the `error` object that its SDKs read."""

from __future__ import annotations

from typing import Any


class StripeError(Exception):
    """One refusal; `executed` says that the operation had begun, so that its idempotency key remembers the answer."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
        executed: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind}}
        if param is not None:
            self.body["error"]["param"] = param
        if code is not None:
            self.body["error"]["code"] = code
            self.body["error"]["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def missing_param(param: str) -> StripeError:
    """Return the refusal of a request without something required."""
    return StripeError(f"Missing required param: {param}.", param=param, code="parameter_missing")


def no_such(kind: str, identifier: str, *, param: str = "id", status: int = 404) -> StripeError:
    """Return the refusal of an id that names nothing; 404 for the id in the path, 400 for one among the parameters."""
    return StripeError(f"No such {kind}: '{identifier}'", param=param, code="resource_missing", status=status)
