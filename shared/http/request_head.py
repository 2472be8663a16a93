"""The rules of a request's head (RFC 9112), judged strictly before any parser that may be laxer sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import BadRequest, ExpectationFailed, KeepsakeError, MethodNotAllowed

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
HEAD = re.compile(
    rb"(" + TOKEN + rb") ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r\n(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)
OTHER_VERSION = re.compile(rb"[^\r\n]* HTTP/(?!1\.[01]\r)[0-9.]+\r\n")
# RFC 9112 section 3.2.2: what a client sends to a proxy, and a server must take as well.
ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
# In the lower-cased head; that each line is `name:value` is known by then.
HOST = re.compile(rb"\r\nhost:[ \t]*([^\r]*?)[ \t]*(?=\r)")
HOST_VALUE = re.compile(rb"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
HOST_LINE = re.compile(rb"^host:[^\r]*\r\n", re.IGNORECASE | re.MULTILINE)
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([^\r]*?)[ \t]*(?=\r)")
LENGTH_VALUE = re.compile(rb"[0-9]{1,18}")
# More space around it is legal, and how bodies are hidden.
TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding: ?([^\r]*)(?=\r)")
EXPECT = re.compile(rb"\r\nexpect:[ \t]*([^\r]*?)[ \t]*(?=\r)")
OURS = re.compile(rb"\r\n(?:content-length|transfer-encoding|upgrade):[^\r]*", re.IGNORECASE)
ALLOW = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


class VersionNotSupported(KeepsakeError):
    """An HTTP version other than 1.0 and 1.1."""

    status = 505
    default_code = "http_version_not_supported"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A head that may be passed on, without its `Upgrade` and all that says where its body ends: that is told here.

    `length` is None where the body is chunked; `held_back` says that the client waits to be told to send it.
    """

    data: bytes
    length: int | None
    held_back: bool
    upgrade: bool


def malformed() -> BadRequest:
    """Return the refusal of what is not readable as HTTP; it repeats nothing."""
    return BadRequest("The request is not readable as HTTP.", "malformed_request")


def method_not_taken() -> MethodNotAllowed:
    return MethodNotAllowed("This method is not taken here.", headers={"Allow": ALLOW})


def read_head(data: bytes) -> RequestHead:
    """Judge a whole head, from its request line to its empty line.

    Raises BadRequest, VersionNotSupported, ExpectationFailed, or MethodNotAllowed for CONNECT, which no gateway of ours tunnels.
    """
    match = HEAD.fullmatch(data)
    if match is None:
        raise VersionNotSupported("Use HTTP/1.1.") if OTHER_VERSION.match(data) else malformed()
    if match[1] == b"CONNECT":
        raise method_not_taken()
    lowered = data.lower()
    hosts = HOST.findall(lowered)
    # RFC 9112 section 3.2: exactly one Host; HTTP/1.0 may do without.
    if len(hosts) != 1 and (hosts or match[3] == b"1"):
        raise malformed()
    if hosts and HOST_VALUE.fullmatch(hosts[0]) is None:
        raise malformed()
    lengths = CONTENT_LENGTH.findall(lowered)
    codings = TRANSFER_ENCODING.findall(lowered)
    if len(lengths) + len(codings) > 1 or (lengths and LENGTH_VALUE.fullmatch(lengths[0]) is None):
        raise malformed()
    if codings and (codings[0] != b"chunked" or match[3] == b"0"):
        raise malformed()
    expected = set(EXPECT.findall(lowered))
    if not expected <= {b"100-continue"}:
        raise ExpectationFailed("Only Expect: 100-continue is understood.")
    if not match[2].startswith(b"/"):
        data = _in_origin_form(data, match[2])
    upgrade = b"\r\nupgrade:" in lowered
    if upgrade or lengths or codings:
        data = OURS.sub(b"", data)
    length = None if codings else int(lengths[0]) if lengths else 0
    return RequestHead(data, length, bool(expected) and match[3] == b"1", upgrade)


def _in_origin_form(data: bytes, target: bytes) -> bytes:
    """Return the head with a target in absolute form cut to its path, and its authority as the `Host`, which counts then.

    Raises BadRequest for a malformed authority.
    """
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None:
        return data
    authority, path = absolute.groups()
    if HOST_VALUE.fullmatch(authority.lower()) is None:
        raise malformed()
    if not path.startswith(b"/"):
        path = b"/" + path
    line, end, fields = data.partition(b"\r\n")
    return line.replace(target, path, 1) + end + b"Host: " + authority + end + HOST_LINE.sub(b"", fields)
