"""The error tree: one class per refusal family, with the status and code a client sees.

KeepsakeError                  500 internal_error
├── BadRequest                 400 bad_request           something required is missing or unreadable
├── Unauthorized               401 unauthorized          no token, or a bad one (RFC 6750)
├── Forbidden                  403 forbidden
├── NotFound                   404 not_found
├── MethodNotAllowed           405 method_not_allowed
├── RequestTimeout             408 request_timeout
├── Conflict                   409 conflict
├── TooLarge                   413 too_large             the detail names the limit
├── UnsupportedMedia           415 unsupported_media_type
├── ExpectationFailed          417 expectation_failed
├── NotAllowedValue            422 invalid_value         readable, but the value is refused
├── TooManyRequests            429 rate_limited          carries Retry-After
└── Unavailable                503 service_unavailable   carries Retry-After
    ├── DependencyDown         503 <name>_unavailable    database, redis, storage, …
    └── StorageFull            503 storage_full

Every instance is safe to show: its detail holds no path, host or exception text. The cause goes to `raise … from`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refused field of a request: its name, and why; never its value."""

    field: str
    message: str


@dataclass(eq=False)
class KeepsakeError(Exception):
    """A refusal with the detail that the client reads (RFC 9457), its stable code, and extra response headers."""

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"

    detail: str = "Something went wrong on our side. Please try again."
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()

    def __post_init__(self) -> None:
        super().__init__(self.detail)
        self.code = self.code or self.default_code


class FieldRefusal(KeepsakeError):
    """What is refused for what one or more of its fields say."""

    @classmethod
    def of(cls, name: str, detail: str, code: str = "") -> Self:
        """Refuse the field `name`; `errors` says so too."""
        return cls(detail, code, errors=(FieldError(name, detail),))


class BadRequest(FieldRefusal):
    """The request lacks something required, or cannot be read."""

    status = 400
    default_code = "bad_request"


class Unauthorized(KeepsakeError):
    """No token (`invalid=False`), or one that is not accepted (`invalid=True`), RFC 6750 section 3."""

    status = 401
    default_code = "unauthorized"

    def __init__(self, detail: str = "", *, invalid: bool = False, code: str = "") -> None:
        """Choose the challenge: a bare `Bearer`, or one with `invalid_token`."""
        super().__init__(
            detail or ("The access token is not valid." if invalid else "Sign in first: send a bearer token."),
            code or ("invalid_token" if invalid else self.default_code),
            {"WWW-Authenticate": 'Bearer error="invalid_token"' if invalid else "Bearer"},
        )


class Forbidden(KeepsakeError):
    """The caller is known and may not do this."""

    status = 403
    default_code = "forbidden"


class NotFound(KeepsakeError):
    """There is no such thing, or it is another person's."""

    status = 404
    default_code = "not_found"


class MethodNotAllowed(KeepsakeError):
    """The path exists with other methods, which `Allow` lists."""

    status = 405
    default_code = "method_not_allowed"


class RequestTimeout(KeepsakeError):
    """The client took longer than allowed to send its request."""

    status = 408
    default_code = "request_timeout"


class Conflict(KeepsakeError):
    """The request does not fit the present state."""

    status = 409
    default_code = "conflict"


class TooLarge(KeepsakeError):
    """More bytes, pixels or frames than allowed; the detail names the limit."""

    status = 413
    default_code = "too_large"


class UnsupportedMedia(KeepsakeError):
    """Bytes or a declared type that are not accepted."""

    status = 415
    default_code = "unsupported_media_type"


class ExpectationFailed(KeepsakeError):
    """An `Expect` other than `100-continue`."""

    status = 417
    default_code = "expectation_failed"


class NotAllowedValue(FieldRefusal):
    """Readable, but too long, unknown, out of range or otherwise refused."""

    status = 422
    default_code = "invalid_value"


class TooManyRequests(KeepsakeError):
    """A rate limit is used up; `headers` carries Retry-After, RateLimit and RateLimit-Policy."""

    status = 429
    default_code = "rate_limited"


class Unavailable(KeepsakeError):
    """Try again after `retry_after_s` seconds."""

    status = 503
    default_code = "service_unavailable"

    def __init__(self, detail: str = "", *, code: str = "", retry_after_s: int = 1) -> None:
        """Set Retry-After, in whole seconds."""
        super().__init__(
            detail or "The service is not available right now. Please try again shortly.",
            code or self.default_code,
            {"Retry-After": str(retry_after_s)},
        )


class DependencyDown(Unavailable):
    """Something this service needs does not answer; `name` is a word such as `database` or `storage`."""

    def __init__(self, name: str, *, retry_after_s: int = 2) -> None:
        """Name the dependency in the detail and the code, never its address."""
        super().__init__(
            f"The {name} is not available right now. Please try again shortly.",
            code=f"{name.replace(' ', '_').replace('-', '_')}_unavailable",
            retry_after_s=retry_after_s,
        )


class StorageFull(Unavailable):
    """The disk has no room for the upload; reading and deleting still work."""

    def __init__(self) -> None:
        """Use one sentence for every full disk."""
        super().__init__(
            "There is no room left to store this. Please try again later.", code="storage_full", retry_after_s=60
        )


class UnusableDatabase(KeepsakeError):
    """The database is damaged, or its tables are at a revision that only a newer release may write to."""
