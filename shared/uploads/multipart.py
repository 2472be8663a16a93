"""The syntax of a form (RFC 7578, RFC 2046 section 5.1), taken apart as it arrives and read as clients write it.

Ours, since the ready-made parsers refuse what clients send: blanks behind a boundary, a part's `Content-Length`, a control
character in a file name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from shared.errors import BadRequest, TooLarge
from shared.http.read_body import size_text

MAX_PART_HEADER_BYTES = 8 * 1024
MAX_PREAMBLE_BYTES = 8 * 1024
MAX_BOUNDARY_CHARS = 70
# What follows a delimiter: the last one's dashes, or the end of its line behind any blanks; and what may still become that.
LINE_END = re.compile(rb"--|[ \t]{0,256}\r\n")
LINE_BEGUN = re.compile(rb"-?|[ \t]{0,256}\r?")
FOLD = re.compile(r"\r\n[ \t]+")
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A quoted value ends at the quote that a `;` or the end follows: browsers escape no backslash.
PARAMETER = re.compile(rf';\s*({TOKEN})\s*=\s*(?:"((?:\\.|[^"\\])*)"(?=\s*(?:;|$))|"([^"]*)"|([^;"]*))', re.DOTALL)
# RFC 7578 forbids this form of RFC 8187; older clients send it, and nothing else, for names that are not ASCII.
EXTENDED_FILENAME = re.compile(r""";\s*filename\*\s*=\s*"?([\w.:-]+)'[^']*'"?([^;"]*)""", re.ASCII | re.IGNORECASE)
# A token, or what clients leave unquoted although RFC 9110 wants it quoted.
PLAIN_BOUNDARY = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z()/:=?,-]+")
BROWSERS_ESCAPES = {"%0D": "\r", "%0A": "\n", "%22": '"'}


@dataclass(frozen=True, slots=True)
class PartHead:
    """What counts of a part's headers; `filename` is as sent, None where the part has none. `content_type` is lower-case."""

    name: str
    filename: str | None
    content_type: str | None


class FormParser:
    """One form, fed as it arrives: each part comes as its head, its bytes in pieces, and None at its end.

    `complete` says that the last delimiter was there. Raises BadRequest for what is no form, TooLarge for a part's headers.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # the first delimiter may be the body's first line
        self._preamble_left = MAX_PREAMBLE_BYTES
        self._in_head = self._in_part = False
        self.complete = False

    def feed(self, data: bytes) -> Iterator[PartHead | bytes | None]:
        """Take the next bytes, and give what is known by them; to be read to its end before the next call."""
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while not self.complete:
            if self._in_head:
                if (end := _end_of_head(data, at)) < 0:
                    break
                yield read_part_head(data[at + 2 : end])
                self._in_head, self._in_part = False, True
                at = end + 4
                continue
            found = data.find(self._delimiter, at)
            end = found if found >= 0 else self._end_of_content(data, at)
            if end > at and self._in_part:
                yield data[at:end] if at or end < len(data) else data
            elif end > at:
                self._skip(end - at)
            at = end
            if found < 0:
                break
            if (end := _end_of_line(data, found + len(self._delimiter))) < 0:
                break
            if self._in_part:
                yield None
            at = end - 2  # with the line's end, since a head may be empty
            self._in_head, self._in_part = True, False
            self.complete = data.startswith(b"--", at)
        self._held = data[at:] if not self.complete else b""

    def _end_of_content(self, data: bytes, at: int) -> int:
        """Return up to where `data` has no part of a delimiter."""
        begun = data.rfind(b"\r", max(at, len(data) - len(self._delimiter) + 1))
        return begun if begun >= 0 and self._delimiter.startswith(data[begun:]) else len(data)

    def _skip(self, size: int) -> None:
        self._preamble_left -= size
        if self._preamble_left < 0:
            raise malformed()


def _end_of_head(data: bytes, at: int) -> int:
    """Return where the header lines behind `at` end, -1 where they still come."""
    end = data.find(b"\r\n\r\n", at)
    if (end if end >= 0 else len(data)) - at > MAX_PART_HEADER_BYTES:
        raise headers_too_large()
    return end


def _end_of_line(data: bytes, at: int) -> int:
    """Return where a delimiter's line ends, -1 where the rest of it still comes."""
    found = LINE_END.match(data, at)
    if found is None and LINE_BEGUN.fullmatch(data, at) is None:
        raise malformed()
    return found.end() if found is not None else -1


def read_part_head(block: bytes) -> PartHead:
    """Read a part's header lines, of which only the name and the type count (RFC 7578 section 4.8). Raises BadRequest."""
    dispositions, content_type = [], None
    for line in FOLD.sub(" ", block.decode(errors="replace")).split("\r\n") if block else ():
        name, colon, value = line.partition(":")
        if not colon or "\n" in line or "\r" in line:
            raise malformed()
        match name.strip().lower():
            case "content-disposition":
                dispositions.append(value.strip())
            case "content-type":
                content_type = value.partition(";")[0].strip().lower()
    if len(dispositions) != 1 or dispositions[0].partition(";")[0].strip().lower() != "form-data":
        raise malformed()
    found = _parameters(dispositions[0])
    name = found.get("name", "")
    if "\ufffd" in name:  # no UTF-8
        raise malformed()
    return PartHead(name, _extended_filename(dispositions[0]) or found.get("filename"), content_type)


def _parameters(disposition: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, quoted, broken, plain in PARAMETER.findall(disposition):
        if name.lower() in found:
            raise malformed()
        found[name.lower()] = _unescape(quoted or broken or plain.strip())
    return found


def _unescape(value: str) -> str:
    """Undo what browsers escape, or a quoted string's backslashes where one stands before a quote: else it is a folder's."""
    if '\\"' in value:
        return value.replace("\\\\", "\\").replace('\\"', '"')
    for escape, character in BROWSERS_ESCAPES.items():
        value = value.replace(escape, character)
    return value


def _extended_filename(disposition: str) -> str:
    extended = EXTENDED_FILENAME.search(disposition)
    if extended is None:
        return ""
    try:
        return unquote_to_bytes(extended[2].strip()).decode(extended[1], "replace")
    except (LookupError, ValueError):  # no such charset, or one that knows no replacing
        return ""


def read_boundary(content_type: str) -> bytes:
    """Return the boundary that a form's `Content-Type` names. Raises BadRequest."""
    found = [
        re.sub(r"\\(.)", r"\1", quoted) or (plain.strip() if PLAIN_BOUNDARY.fullmatch(plain.strip()) else "")
        for name, quoted, _, plain in PARAMETER.findall(content_type)
        if name.lower() == "boundary"
    ]
    if len(found) != 1 or not 1 <= len(found[0]) <= MAX_BOUNDARY_CHARS:
        raise malformed("The form's boundary is missing or not valid.")
    return found[0].encode("utf-8", "surrogateescape")


def malformed(sentence: str = "The form could not be read as multipart/form-data.") -> BadRequest:
    """Refuse a body that is no form."""
    return BadRequest(sentence, "malformed_form")


def headers_too_large() -> TooLarge:
    """Refuse a part whose headers are over their limit."""
    limit = size_text(MAX_PART_HEADER_BYTES)
    return TooLarge(f"A part of the form has too many headers: at most {limit}.", "part_headers_too_large")
