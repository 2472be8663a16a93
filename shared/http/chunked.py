"""Chunked bodies (RFC 9112 section 7.1), taken apart strictly: extensions are ignored, trailers dropped."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 256
MAX_TRAILER_BYTES = 8 * 1024
# Each chunk costs some 6 µs. Whoever sends more than this many of less than 16 bytes each wants to cost time.
MAX_CHUNKS = 16 * 1024
MIN_MEAN_BYTES = 16
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
LAST_CHUNK = b"0\r\n\r\n"


class BrokenChunks(ValueError):
    """What came is no chunked body."""


def chunk(data: bytes) -> bytes:
    """Frame some bytes, at least one, of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class ChunkedBody:
    """One body, fed as it arrives."""

    def __init__(self) -> None:
        self._left = 0  # of the chunk at hand
        self._chunks = self._bytes = 0
        self._line = bytearray()
        self._after_chunk = False
        self._in_trailers = False
        self._trailer_bytes = 0
        self.complete = False

    def feed(self, data: bytes, at: int = 0) -> tuple[list[bytes], int]:
        """Take `data[at:]`; return the body's bytes in it, and where what follows the body begins.

        Raises BrokenChunks.
        """
        found: list[bytes] = []
        while at < len(data) and not self.complete:
            if self._left:
                end = min(len(data), at + self._left)
                found.append(data[at:end])
                self._left -= end - at
                self._after_chunk = not self._left
                at = end
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            if len(self._line) > (MAX_TRAILER_BYTES if self._in_trailers else MAX_LINE_BYTES):
                raise BrokenChunks
            at = end or len(data)
            if end:
                self._take_line(bytes(self._line))
                self._line.clear()
        return found, at

    def _take_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._trailer_bytes += len(line)
            self.complete = line == b"\r\n"
            if not self.complete and (TRAILER_LINE.fullmatch(line) is None or self._trailer_bytes > MAX_TRAILER_BYTES):
                raise BrokenChunks
        elif self._after_chunk:
            if line != b"\r\n":
                raise BrokenChunks
            self._after_chunk = False
        else:
            size = SIZE_LINE.fullmatch(line)
            if size is None:
                raise BrokenChunks
            self._left = int(size[1], 16)
            self._chunks += self._left > 0
            self._bytes += self._left
            if self._chunks > MAX_CHUNKS and self._bytes < self._chunks * MIN_MEAN_BYTES:
                raise BrokenChunks
            self._in_trailers = not self._left
