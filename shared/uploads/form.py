"""A multipart/form-data request (RFC 7578), read as a stream into text fields and bounded, hashed files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from aiohttp import hdrs, web

from shared.errors import BadRequest, TooLarge
from shared.http.read_body import BODY, IDLE_S, continue_body, read_chunk, require_unencoded
from shared.uploads.multipart import MAX_PART_HEADER_BYTES, FormParser, PartHead, malformed, read_boundary
from shared.uploads.parts import (
    MAX_TEXT_BYTES,
    FileField,
    FilePart,
    IgnoredPart,
    Part,
    TextPart,
    UploadedFile,
    file_too_large,
)
from shared.uploads.sinks import FileSink

FORM_TYPE = "multipart/form-data"
MAX_PARTS = 20
# All that is neither a field's text nor a file's bytes: part headers, and 64 KiB for boundaries and epilogue.
MAX_OVERHEAD_BYTES = MAX_PARTS * MAX_PART_HEADER_BYTES + 64 * 1024

T = TypeVar("T")
BeforeFile = Callable[[Sequence[tuple[str, str]], str], int]


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
    boundary = _boundary(request.headers.get(hdrs.CONTENT_TYPE, ""), file_field)
    async with AsyncExitStack() as sinks:
        form = _FormReader(file_field, open_sink, sinks, before_file, digest=digest)
        if (request[BODY].length or 0) > form.max_bytes:
            raise form.too_large()
        await continue_body(request)
        yield await form.read(request, boundary, idle_s)


class _FormReader(Generic[T]):
    def __init__(
        self,
        field: FileField,
        open_sink: Callable[[], FileSink[T]],
        sinks: AsyncExitStack,
        before_file: BeforeFile | None,
        *,
        digest: bool,
    ) -> None:
        # Where several files may come there is room for one too many: it is refused for its number, not the form's size.
        files = field.max_files + (field.max_files > 1)
        self.max_bytes = files * field.max_bytes + MAX_PARTS * MAX_TEXT_BYTES + MAX_OVERHEAD_BYTES
        self._field = field
        self._open_sink = open_sink
        self._sinks = sinks
        self._before_file = before_file
        self._digest = digest
        self._fields: list[tuple[str, str]] = []
        self._files: list[UploadedFile[T]] = []
        self._parts = 0
        self._opened = 0

    async def read(self, request: web.BaseRequest, boundary: bytes, idle_s: float) -> Form[T]:
        parser = FormParser(boundary)
        part: Part = IgnoredPart()
        received = payload = 0
        while chunk := await read_chunk(request, idle_s=idle_s):
            received += len(chunk)
            for event in parser.feed(chunk):
                if event is None:
                    await part.end()
                elif isinstance(event, PartHead):
                    part = self._begin(event)
                else:
                    payload += len(event)
                    await part.add(event)
            if received - payload > MAX_OVERHEAD_BYTES:
                raise malformed()
            if received > self.max_bytes:
                raise self.too_large()
        if not parser.complete:
            raise malformed()
        if not self._files:
            raise _no_file(self._field)
        return Form(dict(reversed(self._fields)), self._files)

    def too_large(self) -> TooLarge:
        return file_too_large(self._field.max_bytes)

    def _begin(self, head: PartHead) -> Part:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TooLarge(f"The form has too many parts: at most {MAX_PARTS}.", "too_many_parts")
        field = self._field
        is_ours = head.name == field.name
        if head.filename is None and not is_ours:
            return TextPart(head.name, self._fields)
        if not is_ours or (head.filename is None and not field.nameless):
            return IgnoredPart()
        if self._before_file is not None:
            max_bytes = self._before_file(self._fields, head.filename or "")
            field = replace(field, max_bytes=min(field.max_bytes, max_bytes))
        return FilePart(head, field, self._files, self._open, digest=self._digest)

    def _open(self) -> FileSink[T]:
        """Open the next file's sink, to be discarded with the others; raises BadRequest for one file too many."""
        self._opened += 1
        if self._opened > self._field.max_files:
            files = "file" if self._field.max_files == 1 else "files"
            raise BadRequest.of(
                self._field.name, f"Too many files: at most {self._field.max_files} {files}.", "too_many_files"
            )
        sink = self._open_sink()
        self._sinks.push_async_callback(sink.discard)
        return sink


def _boundary(content_type: str, field: FileField) -> bytes:
    if content_type.partition(";")[0].strip().lower() != FORM_TYPE:
        raise _no_file(field)
    return read_boundary(content_type)


def _no_file(field: FileField) -> BadRequest:
    return BadRequest.of(field.name, field.missing, field.missing_code)
