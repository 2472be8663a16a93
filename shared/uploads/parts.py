"""The parts of a form (RFC 7578 section 4): each kind takes its bytes as they come, within its bound."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from shared.errors import NotAllowedValue, TooLarge
from shared.http.read_body import size_text
from shared.images.validation import named
from shared.uploads.multipart import PartHead, malformed
from shared.uploads.sinks import FileSink

MAX_TEXT_BYTES = 64 * 1024
MAX_FILENAME_CHARS = 255
HASH_IN_THREAD_BYTES = 64 * 1024

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class UploadedFile(Generic[T]):
    """One file: `filename` is what the client called it, without folders and control characters; `sha256` is hex, or empty."""

    filename: str
    declared_type: str | None
    size: int
    sha256: str
    content: T


class Part(Protocol):
    """One part of a form while it arrives."""

    async def add(self, chunk: bytes) -> None:
        """Take the next bytes; raises what refuses them."""

    async def end(self) -> None:
        """Take note that the part is complete."""


class IgnoredPart:
    """A file under another name, or the file field without a file."""

    async def add(self, chunk: bytes) -> None:
        """Drop the bytes."""

    async def end(self) -> None:
        """Keep nothing."""


class TextPart:
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
            raise malformed("A form field is not UTF-8 text.") from None
        if "\x00" in text:
            sentence = "A form field must not contain a NUL character."
            raise NotAllowedValue.of(self._name[:100], sentence)
        self._fields.append((self._name, text))


class FilePart(Generic[T]):
    """A file on its way into a sink; put into `files` when it is complete."""

    def __init__(
        self,
        head: PartHead,
        field: FileField,
        files: list[UploadedFile[T]],
        open_sink: Callable[[], FileSink[T]],
        *,
        digest: bool,
    ) -> None:
        self._declared_type = head.content_type
        self._filename = head.filename or ""
        self._max_bytes = field.max_bytes
        self._field = field
        self._files = files
        self._open_sink = open_sink
        self._size = 0
        self._hash = hashlib.sha256() if digest else None
        # A browser sends an empty file input as `filename=""` and no bytes: that is no file.
        self._sink = open_sink() if head.filename else None

    async def add(self, chunk: bytes) -> None:
        """Hash the bytes and pass them on; raises TooLarge with the first byte over the limit."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            # Among several files the sentence says which.
            raise named(file_too_large(self._max_bytes), _safe(self._filename) if self._field.max_files > 1 else "")
        if self._hash is not None:
            if len(chunk) < HASH_IN_THREAD_BYTES:
                self._hash.update(chunk)
            else:  # 256 KiB keep a core busy for 1 ms
                await asyncio.get_running_loop().run_in_executor(None, self._hash.update, chunk)
        if self._sink is None:
            self._sink = self._open_sink()
        await self._sink.write(chunk)

    async def end(self) -> None:
        """Finish the sink."""
        if self._sink is None:
            return
        content = await self._sink.finish()
        sha256 = self._hash.hexdigest() if self._hash is not None else ""
        self._files.append(UploadedFile(_safe(self._filename), self._declared_type, self._size, sha256, content))


def _safe(filename: str) -> str:
    """Drop folders (RFC 6266 section 4.3) and controls; of an overlong name keep the end, which has the extension."""
    return CONTROLS.sub("", filename.replace("\\", "/").rpartition("/")[2])[-MAX_FILENAME_CHARS:]


def file_too_large(max_bytes: int) -> TooLarge:
    """Refuse a file of more than `max_bytes`."""
    return TooLarge(f"The file is too large: at most {size_text(max_bytes)}.", "file_too_large")
