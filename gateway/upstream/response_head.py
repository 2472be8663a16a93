"""The heads of services' answers, read strictly (RFC 9112), and what the gateway says where a service did not answer well.

├── BadGateway           502 bad_gateway
│   └── LostConnection   502 bad_gateway         it ended before the first byte of an answer
├── UpstreamTimeout      504 upstream_timeout
└── ServiceDown          503 service_unavailable   nothing was sent: no address could be connected to
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import KeepsakeError, Unavailable
from shared.http.body import BODILESS

MAX_HEAD_BYTES = 32 * 1024
HEAD_END = b"\r\n\r\n"
HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
LENGTH = re.compile(r"[0-9]{1,18}")


class BadGateway(KeepsakeError):
    """The service's answer broke off or is not HTTP."""

    status = 502
    default_code = "bad_gateway"

    def __init__(self, why: str) -> None:
        """Keep `why` for the log; the client reads one sentence for all."""
        super().__init__("The service behind the gateway gave no usable answer. Please try again.")
        self.add_note(why)


class LostConnection(BadGateway):
    """The connection ended before any byte of an answer: a pooled one may have been dead already."""


class UpstreamTimeout(KeepsakeError):
    """The service took longer than its route allows."""

    status = 504
    default_code = "upstream_timeout"

    def __init__(self) -> None:
        """Use one sentence for every wait."""
        super().__init__("The service behind the gateway did not answer in time. Please try again.")


class ServiceDown(Unavailable):
    """No address of the service could be connected to; nothing was sent."""

    def __init__(self, service: str) -> None:
        """Name the service, never its address."""
        super().__init__(
            f"The service {service} is not available right now. Please try again shortly.", retry_after_s=2
        )


@dataclass(frozen=True, slots=True)
class Head:
    """A service's answer without its body: `length` is None where chunks or the connection's end mark the body's end.

    `options` are those of its `Connection` headers, in lower case.
    """

    status: int
    fields: tuple[tuple[str, str], ...]
    options: frozenset[str]
    length: int | None
    chunked: bool
    keep_alive: bool

    def value(self, name: str) -> str | None:
        """Return the first value of the header `name`, given in lower case."""
        return next((value for given, value in self.fields if given.lower() == name), None)


def parse_head(head: bytes, method: str) -> Head:
    """Read a whole head, `CRLF CRLF` included, of the answer to `method`; raises BadGateway for the least flaw."""
    match = HEAD.fullmatch(head)
    if match is None:
        raise BadGateway("head")
    try:
        lines = match[3].decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise BadGateway("header") from error
    fields: list[tuple[str, str]] = []
    lengths: list[str] = []
    codings: list[str] = []
    options: set[str] = set()
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        value = value.strip(" \t")
        fields.append((name, value))
        match name.lower():
            case "content-length":
                lengths.append(value)
            case "transfer-encoding":
                codings.append(value.lower())
            case "connection":
                options.update(map(str.strip, value.lower().split(",")))
    if len(lengths) + len(codings) > 1 or codings not in ([], ["chunked"]) or not all(map(LENGTH.fullmatch, lengths)):
        raise BadGateway("Content-Length or Transfer-Encoding")
    status, length, chunked = int(match[2]), int(lengths[0]) if lengths else None, bool(codings)
    if method == "HEAD" or status in BODILESS or status < 200:
        length, chunked = 0, False
    ends_by_itself = chunked or length is not None
    keep_alive = ends_by_itself and "close" not in options and (match[1] == b"1" or "keep-alive" in options)
    return Head(status, tuple(fields), frozenset(options), length, chunked, keep_alive)
