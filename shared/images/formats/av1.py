"""The size of an AV1 still by its own headers (AV1 Bitstream and Decoding Process Specification, 5.5 and 5.9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.images.formats.header import damaged

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME, _REDUNDANT_FRAME_HEADER = 1, 3, 6, 7
_MAX_UNITS = 4000
_SELECTED_BY_FRAME = 2


class _Bits:
    """Reads numbers of some bits from the beginning of bytes; what is missing is `image_damaged`."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int = 1) -> int:
        self._left -= count
        if self._left < 0:
            raise damaged()
        return self._value >> self._left & (1 << count) - 1


@dataclass(slots=True)
class _Sequence:
    """The size, and what stands in a frame's header before it may name another one. Lengths are in bits."""

    width: int = 0
    height: int = 0
    is_reduced: bool = False
    time_length: int = 0
    frame_id_length: int = 0
    screen_content: int = _SELECTED_BY_FRAME
    integer_motion: int = _SELECTED_BY_FRAME


def frame_size(data: memoryview) -> tuple[int, int]:
    """Return width and height in pixels of an image item's one frame, as a decoder will allocate it.

    Raises `image_damaged` where that cannot be told: no sequence header or several that differ, more than one frame, or a
    frame with a size of its own.
    """
    header, frame = b"", b""
    for kind, body in _units(data):
        if kind == _SEQUENCE_HEADER:
            found = bytes(body[:512])
            if frame or (header and found != header):
                raise damaged()
            header = found
        elif kind in {_FRAME_HEADER, _FRAME, _REDUNDANT_FRAME_HEADER}:
            if frame or not len(body):
                raise damaged()
            frame = bytes(body[:16])
    sequence = _read_sequence(_Bits(header))
    if not frame or (not sequence.is_reduced and _has_own_size(_Bits(frame), sequence)):
        raise damaged()
    return sequence.width, sequence.height


def _units(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, body) of each open bitstream unit; one without a size is the last."""
    at = 0
    for _ in range(_MAX_UNITS):
        if at >= len(data):
            return
        first = data[at]
        at += 2 if first & 4 else 1
        size = max(0, len(data) - at)
        if first & 2:
            size, at = _leb128(data, at)
        if at + size > len(data):
            raise damaged()
        yield first >> 3 & 15, data[at : at + size]
        at += size
    raise damaged()


def _leb128(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + 8]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise damaged()


def _read_sequence(bits: _Bits) -> _Sequence:
    sequence = _Sequence()
    bits.read(4)  # profile, still picture
    sequence.is_reduced = bool(bits.read())
    if sequence.is_reduced:
        bits.read(5)  # level
    else:
        _read_operating_points(bits, sequence)
    across, down = bits.read(4) + 1, bits.read(4) + 1
    sequence.width, sequence.height = bits.read(across) + 1, bits.read(down) + 1
    if not sequence.is_reduced:
        _read_tools(bits, sequence)
    return sequence


def _read_operating_points(bits: _Bits, sequence: _Sequence) -> None:
    delay_length = 0
    if bits.read():  # timing
        bits.read(64)
        is_even = bits.read()
        if is_even:
            _skip_uvlc(bits)
        if bits.read():  # decoder model
            delay_length = bits.read(5) + 1
            bits.read(32 + 5)
            time_length = bits.read(5) + 1
            sequence.time_length = 0 if is_even else time_length
    has_display_delay = bits.read()
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # level; with a tier from here on
            bits.read()
        if delay_length and bits.read():
            bits.read(2 * delay_length + 1)
        if has_display_delay and bits.read():
            bits.read(4)


def _skip_uvlc(bits: _Bits) -> None:
    zeros = 0
    while not bits.read():
        zeros += 1
    if zeros < 32:
        bits.read(zeros)


def _read_tools(bits: _Bits, sequence: _Sequence) -> None:
    if bits.read():  # frames have numbers
        delta = bits.read(4) + 2
        sequence.frame_id_length = delta + bits.read(3) + 1
    bits.read(3 + 4)
    if bits.read():  # order hints
        bits.read(2)
    if not bits.read():
        sequence.screen_content = bits.read()
    if sequence.screen_content and not bits.read():
        sequence.integer_motion = bits.read()


def _has_own_size(bits: _Bits, sequence: _Sequence) -> bool:
    """Tell whether a frame overrides the sequence's size, or is anything but a key frame that is shown."""
    if bits.read(4) != 1:
        return True
    bits.read(sequence.time_length)
    bits.read()
    allows = bits.read() if sequence.screen_content == _SELECTED_BY_FRAME else sequence.screen_content
    if allows and sequence.integer_motion == _SELECTED_BY_FRAME:
        bits.read()
    bits.read(sequence.frame_id_length)
    return bool(bits.read())
