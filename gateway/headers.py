"""Which headers go through the gateway: none that claims an identity to a service, none that is between us to a client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from gateway.upstream.response_head import Head

# RFC 9110 section 7.6.1, with the older ones that RFC 2616 named.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
# What proxies and application servers take as the truth about a client; from outside it is hearsay.
IDENTITY = frozenset(
    {"forwarded", "true-client-ip", "cf-connecting-ip", "fastly-client-ip", "remote-user", "remote-addr"}
)
# All others that begin with `X-` end here: any of them may mean something to somebody. `X-Request-Id` is set by us.
X_HEADERS = frozenset({"x-requested-with", "x-purpose", "x-moz"})
# `traceparent` and `tracestate` go on only where a trace does; nobody here reads `baggage`, which may hold anything.
SET_BY_US = frozenset({"host", "content-length", "expect", "traceparent", "tracestate", "baggage"})
NOT_FOR_CLIENTS = frozenset({"server", "date", "content-length", "x-request-id", "x-content-type-options", "alt-svc"})
NOT_FOR_CLIENTS_PREFIXES = ("access-control-", "x-keepsake-")


@lru_cache(maxsize=2048)
def _goes_to_services(name: bytes) -> bool:
    word = name.decode("latin-1").lower()
    return not (
        word in HOP_BY_HOP
        or word in IDENTITY
        or word in SET_BY_US
        or "_" in word  # servers of the CGI kind read it as a hyphen
        or (word.startswith("x-") and word not in X_HEADERS)
    )


@lru_cache(maxsize=2048)
def _goes_to_clients(name: str) -> bool:
    word = name.lower()
    return not (word in HOP_BY_HOP or word in NOT_FOR_CLIENTS or word.startswith(NOT_FOR_CLIENTS_PREFIXES))


def request_fields(raw_headers: Iterable[tuple[bytes, bytes]], connection: Sequence[str]) -> list[bytes]:
    """Return the header lines, each ending in CRLF, that a client's request brings to a service.

    `connection` are the values of its `Connection` headers: what they name ends here as well.
    """
    named = frozenset(map(str.strip, ",".join(connection).lower().split(","))) if connection else ()
    lines = []
    for name, value in raw_headers:
        if _goes_to_services(name) and (not named or name.decode("latin-1").lower() not in named):
            lines.append(b"%s: %s\r\n" % (name, value))
    return lines


def answer_fields(head: Head) -> list[tuple[str, str]]:
    """Return the headers that a service's answer brings to the client; how the body is framed is set apart."""
    fields = []
    for name, value in head.fields:
        if _goes_to_clients(name) and name.lower() not in head.options:
            fields.append((name, value))
    return fields
