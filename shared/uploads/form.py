"""A multipart/form-data request (RFC 7578), read as a stream into text fields and bounded, hashed files.

Its syntax (RFC 2046 section 5.1) is read as clients write it, by a parser of ours: the ready-made ones refuse what clients
send, such as blanks behind a boundary, a part's `Content-Length`, or a control character in a file name.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web

from shared.errors import BadRequest, NotAllowedValue, TooLarge
from shared.http.body import BODY, IDLE_S, continue_body, require_unencoded, size_text
from shared.images.validation import named
from shared.uploads.sinks import FileSink

FORM_TYPE = "multipart/form-data"
MAX_PARTS = 20
MAX_PART_HEADER_BYTES = 8 * 1024
MAX_PREAMBLE_BYTES = 8 * 1024
MAX_BOUNDARY_CHARS = 70
MAX_TEXT_BYTES = 64 * 1024
MAX_FILENAME_CHARS = 255
HASH_IN_THREAD_BYTES = 64 * 1024
# All that is neither a field's text nor a file's bytes: part headers, and 64 KiB for boundaries and epilogue.
MAX_OVERHEAD_BYTES = MAX_PARTS * MAX_PART_HEADER_BYTES + 64 * 1024

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
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")

T = TypeVar("T")
BeforeFile = Callable[[Sequence[tuple[str, str]], str], int]


@dataclass(frozen=True, slots=True)
class FileField:
    """The form's one file field, and the 400 for a request that has no file in it.

    `nameless` takes a part without a file name as a file, too, as S3 does.
    """

    name: str
    max_bytes: int
    max_files: int = 1
    missing: str = "No image provided"
    missing_code: str = "no_file"
    nameless: bool = False

    def is_missing(self) -> BadRequest:
        """Build the refusal of a form without a file."""
        return BadRequest.of(self.name, self.missing, self.missing_code)


@dataclass(frozen=True, slots=True)
class UploadedFile(Generic[T]):
    """One file: `filename` is what the client called it, without folders and control characters; `sha256` is hex, or empty."""

    filename: str
    declared_type: str | None
    size: int
    sha256: str
    content: T


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """The text fields, of a repeated one the first, and the files in the order they came."""

    fields: Mapping[str, str]
    files: Sequence[UploadedFile[T]]


@asynccontextmanager
async def read_form(
    request: web.BaseRequest,
    file_field: FileField,
    *,
    open_sink: Callable[[], FileSink[T]],
    digest: bool = False,
    idle_s: float = IDLE_S,
    before_file: BeforeFile | None = None,
) -> AsyncIterator[Form[T]]:
    """Read the form, each file into a sink of its own; on leaving the block every sink is discarded.

    `before_file` is asked when a file begins, before a byte of it is kept: with the text fields so far, repeated ones too,
    and what the client called the file. It returns how many bytes that file may have at most, or raises.
    Raises BadRequest (no file, too many, unreadable), TooLarge, UnsupportedMedia, NotAllowedValue (NUL in a text),
    RequestTimeout, StorageFull, DependencyDown; and ClientGone, which nobody is left to read.
    """
    require_unencoded(request)
    parser = _FormParser(_read_boundary(request.headers.get(hdrs.CONTENT_TYPE, ""), file_field))
    # Where several files may come there is room for one too many: it is refused for its number, not the form's size.
    most_files = file_field.max_files + (file_field.max_files > 1)
    max_bytes = most_files * file_field.max_bytes + MAX_PARTS * MAX_TEXT_BYTES + MAX_OVERHEAD_BYTES
    if (request[BODY].length or 0) > max_bytes:
        raise _file_too_large(file_field.max_bytes)
    async with AsyncExitStack() as sinks:
        parts = _Parts(file_field, open_sink, sinks, before_file, digest)
        await continue_body(request)
        part: _TextPart | _FilePart[T] | _IgnoredPart = _IgnoredPart()
        received = payload = 0
        while chunk := await request[BODY].read(idle_s):
            received += len(chunk)
            for event in parser.feed(chunk):
                if isinstance(event, PartHead):
                    part = parts.begin(event)
                elif event:
                    payload += len(event)
                    await part.add(event)
                else:
                    await part.end()
            if received - payload > MAX_OVERHEAD_BYTES:
                raise _malformed()
            if received > max_bytes:
                raise _file_too_large(file_field.max_bytes)
        if not parser.complete:
            raise _malformed()
        if not parts.files:
            raise file_field.is_missing()
        yield Form(dict(reversed(parts.fields)), parts.files)


@dataclass(frozen=True, slots=True)
class PartHead:
    """What counts of a part's headers; `filename` is as sent, None where the part has none. `content_type` is lower-case."""

    name: str
    filename: str | None
    content_type: str | None


class _FormParser:
    """One form, fed as it arrives: each part comes as its head, its bytes in pieces, and None at its end.

    `complete` says that the last delimiter was there. Raises BadRequest for a malformed form, TooLarge for a part's headers.
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
                end = data.find(b"\r\n\r\n", at, at + MAX_PART_HEADER_BYTES + 4)
                if end < 0:
                    _require_head_may_follow(data, at)
                    break
                yield _read_part_head(data[at + 2 : end])
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
            behind = found + len(self._delimiter)
            line_end = LINE_END.match(data, behind)
            if line_end is None:
                _require_line_may_follow(data, behind)
                break
            if self._in_part:
                yield None
            at = line_end.end() - 2  # with the line's end, since a head may be empty
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
            raise _malformed()


def _require_head_may_follow(data: bytes, at: int) -> None:
    if len(data) - at > MAX_PART_HEADER_BYTES:
        limit = size_text(MAX_PART_HEADER_BYTES)
        raise TooLarge(f"A part of the form has too many headers: at most {limit}.", "part_headers_too_large")


def _require_line_may_follow(data: bytes, at: int) -> None:
    if LINE_BEGUN.fullmatch(data, at) is None:
        raise _malformed()


@dataclass(slots=True)
class _Parts(Generic[T]):
    """What has come of a form, and what becomes of each part."""

    file_field: FileField
    make_sink: Callable[[], FileSink[T]]
    sinks: AsyncExitStack
    before_file: BeforeFile | None
    digest: bool
    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[UploadedFile[T]] = field(default_factory=list)
    begun: int = 0
    opened: int = 0

    def begin(self, head: PartHead) -> _TextPart | _FilePart[T] | _IgnoredPart:
        self.begun += 1
        if self.begun > MAX_PARTS:
            raise TooLarge(f"The form has too many parts: at most {MAX_PARTS}.", "too_many_parts")
        is_ours = head.name == self.file_field.name
        if head.filename is None and not is_ours:
            return _TextPart(head.name, self.fields)
        if not is_ours or (head.filename is None and not self.file_field.nameless):
            return _IgnoredPart()
        max_bytes = self.file_field.max_bytes
        if self.before_file is not None:
            max_bytes = min(max_bytes, self.before_file(self.fields, head.filename or ""))
        return _FilePart(self, head, max_bytes)

    def open_sink(self) -> FileSink[T]:
        """Open the next file's sink, to be discarded with the others; raises BadRequest for one file too many."""
        self.opened += 1
        most = self.file_field.max_files
        if self.opened > most:
            sentence = f"Too many files: at most {most} file{'s' if most > 1 else ''}."
            raise BadRequest.of(self.file_field.name, sentence, "too_many_files")
        sink = self.make_sink()
        self.sinks.push_async_callback(sink.discard)
        return sink


class _IgnoredPart:
    """A file under another name, or the file field without a file."""

    async def add(self, chunk: bytes) -> None:
        """Drop the bytes."""

    async def end(self) -> None:
        """Keep nothing."""


class _TextPart:
    """A text field; added to `fields` when it is complete."""

    def __init__(self, name: str, fields: list[tuple[str, str]]) -> None:
        self._name = name
        self._fields = fields
        self._value = bytearray()

    async def add(self, chunk: bytes) -> None:
        """Keep the bytes; raises TooLarge."""
        self._value += chunk
        if len(self._value) > MAX_TEXT_BYTES:
            raise TooLarge(f"A form field is too large: at most {size_text(MAX_TEXT_BYTES)}.", "field_too_large")

    async def end(self) -> None:
        """Decode the value, kept as typed; raises BadRequest, or NotAllowedValue for a NUL."""
        try:
            text = self._value.decode()
        except UnicodeDecodeError:
            raise _malformed("A form field is not UTF-8 text.") from None
        if "\x00" in text:
            raise NotAllowedValue.of(self._name[:100], "A form field must not contain a NUL character.")
        self._fields.append((self._name, text))


class _FilePart(Generic[T]):
    """A file on its way into a sink; put into the form's files when it is complete."""

    def __init__(self, form: _Parts[T], head: PartHead, max_bytes: int) -> None:
        self._form = form
        self._declared_type = head.content_type
        # Without folders (RFC 6266 section 4.3) and controls; of an overlong name the end, which has the extension.
        name = (head.filename or "").replace("\\", "/").rpartition("/")[2]
        self._filename = CONTROLS.sub("", name)[-MAX_FILENAME_CHARS:]
        self._max_bytes = max_bytes
        self._size = 0
        self._hash = hashlib.sha256() if form.digest else None
        # A browser sends an empty file input as `filename=""` and no bytes: that is no file.
        self._sink = form.open_sink() if head.filename else None

    async def add(self, chunk: bytes) -> None:
        """Hash the bytes and pass them on; raises TooLarge with the first byte over the limit."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            # Among several files the sentence says which.
            raise named(_file_too_large(self._max_bytes), self._filename if self._form.file_field.max_files > 1 else "")
        if self._hash is not None:
            if len(chunk) < HASH_IN_THREAD_BYTES:
                self._hash.update(chunk)
            else:  # 256 KiB keep a core busy for 1 ms
                await asyncio.get_running_loop().run_in_executor(None, self._hash.update, chunk)
        if self._sink is None:
            self._sink = self._form.open_sink()
        await self._sink.write(chunk)

    async def end(self) -> None:
        """Finish the sink."""
        if self._sink is not None:
            content = await self._sink.finish()
            sha256 = self._hash.hexdigest() if self._hash is not None else ""
            self._form.files.append(UploadedFile(self._filename, self._declared_type, self._size, sha256, content))


def _read_boundary(content_type: str, file_field: FileField) -> bytes:
    """Return the boundary that a form's `Content-Type` names. Raises BadRequest."""
    if content_type.partition(";")[0].strip().lower() != FORM_TYPE:
        raise file_field.is_missing()
    found = [values for values in PARAMETER.findall(content_type) if values[0].lower() == "boundary"]
    _, quoted, _, plain = found[0] if len(found) == 1 else ("", "", "", "")
    boundary = re.sub(r"\\(.)", r"\1", quoted) or plain.strip()
    if not (quoted or PLAIN_BOUNDARY.fullmatch(boundary)) or len(boundary) > MAX_BOUNDARY_CHARS:
        raise _malformed("The form's boundary is missing or not valid.")
    return boundary.encode("utf-8", "surrogateescape")


def _read_part_head(block: bytes) -> PartHead:
    """Read a part's header lines, of which only the name and the type count (RFC 7578 section 4.8). Raises BadRequest."""
    dispositions, content_type = [], None
    for line in FOLD.sub(" ", block.decode(errors="replace")).split("\r\n") if block else ():
        name, colon, value = line.partition(":")
        if not colon or "\n" in line or "\r" in line:
            raise _malformed()
        match name.strip().lower():
            case "content-disposition":
                dispositions.append(value.strip())
            case "content-type":
                content_type = value.partition(";")[0].strip().lower()
    if len(dispositions) != 1 or dispositions[0].partition(";")[0].strip().lower() != "form-data":
        raise _malformed()
    found: dict[str, str] = {}
    for name, quoted, broken, plain in PARAMETER.findall(dispositions[0]):
        if name.lower() in found:
            raise _malformed()
        found[name.lower()] = _unescaped(quoted or broken or plain.strip())
    name = found.get("name", "")
    if "\ufffd" in name:  # no UTF-8
        raise _malformed()
    extended = EXTENDED_FILENAME.search(dispositions[0])
    filename = _decoded(extended) if extended else ""
    return PartHead(name, filename or found.get("filename"), content_type)


def _unescaped(value: str) -> str:
    """Undo what browsers escape, or a quoted string's backslashes where one stands before a quote: else it is a folder's."""
    if '\\"' in value:
        return value.replace("\\\\", "\\").replace('\\"', '"')
    for escape, character in BROWSERS_ESCAPES.items():
        value = value.replace(escape, character)
    return value


def _decoded(filename: re.Match[str]) -> str:
    try:
        return unquote_to_bytes(filename[2].strip()).decode(filename[1], "replace")
    except (LookupError, ValueError):  # no such charset, or one that knows no replacing
        return ""


def _malformed(sentence: str = "The form could not be read as multipart/form-data.") -> BadRequest:
    return BadRequest(sentence, "malformed_form")


def _file_too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The file is too large: at most {size_text(max_bytes)}.", "file_too_large")
