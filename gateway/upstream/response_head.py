"""HTTP/1.1 as bytes, strict in what it takes from a service (RFC 9112): the heads of its answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.upstream.errors import BadGateway

MAX_HEAD_BYTES = 32 * 1024
HEAD_END = b"\r\n\r\n"
HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
LENGTH = re.compile(r"[0-9]{1,18}")
BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Head:
    """A service's answer without its body: `length` is None where chunks or the connection's end mark the body's end."""

    status: int
    fields: tuple[tuple[str, str], ...]
    length: int | None
    chunked: bool
    keep_alive: bool

    def value(self, name: str) -> str | None:
        """Return the first value of the header `name`, given in lower case."""
        return next((value for given, value in self.fields if given.lower() == name), None)


def _framing(fields: Iterable[tuple[str, str]]) -> tuple[int | None, bool, str]:
    length: int | None = None
    chunked = False
    connection = ""
    for given, value in fields:
        name = given.lower()
        if name == "content-length":
            if length is not None or not LENGTH.fullmatch(value):
                raise BadGateway("Content-Length")
            length = int(value)
        elif name == "transfer-encoding":
            if chunked or value.lower() != "chunked":
                raise BadGateway("Transfer-Encoding")
            chunked = True
        elif name == "connection":
            connection += f"{value.lower()},"
    if chunked and length is not None:
        raise BadGateway("Content-Length beside Transfer-Encoding")
    return length, chunked, connection


def parse_head(head: bytes, method: str) -> Head:
    """Read a whole head, `CRLF CRLF` included, of the answer to `method`; raises BadGateway for the least flaw."""
    match = HEAD.fullmatch(head)
    if match is None:
        raise BadGateway("head")
    try:
        lines = match[3].decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise BadGateway("header") from error
    lines.pop()
    fields = [(name, value.strip(" \t")) for name, _, value in [line.partition(":") for line in lines]]
    status = int(match[2])
    length, chunked, connection = _framing(fields)
    if method == "HEAD" or status in BODILESS or status < 200:
        length, chunked = 0, False
    options = [option.strip() for option in connection.split(",")] if connection else ()
    modern = match[1] == b"1"
    ends_by_itself = chunked or length is not None
    keep_alive = ends_by_itself and "close" not in options and (modern or "keep-alive" in options)
    return Head(status, tuple(fields), length, chunked, keep_alive)
