"""Protobuf's wire format: the few primitives that reading and writing ONNX takes.

A *tag* here is the whole key, field number and wire type: ``number << 3 | wire``; so a known field with
another wire type is an unknown field, as in protobuf itself. Positions are offsets into the whole file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from cnnprof.errors import ModelError

__all__ = ["Buffer", "damaged", "field", "floats", "scan", "signed", "text", "varint", "varint_bytes", "varints"]

Buffer = bytes | mmap.mmap

_HINT = "the file is damaged or no ONNX model; export it again, or check the download"
_SINGLE = [bytes([i]) for i in range(0x80)]


def damaged(position: int, what: str) -> ModelError:
    """The error every malformed input ends in."""
    return ModelError(f"byte {position}: {what}", _HINT)


def varint(buf: Buffer, pos: int, end: int) -> tuple[int, int]:
    """The unsigned number at ``pos`` and the position behind it. Raises :class:`ModelError`."""
    result = shift = 0
    start = pos
    while pos < end:
        byte = buf[pos]
        pos += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, pos
        shift += 7
        if shift > 63:
            raise damaged(start, "a number is longer than 10 bytes")
    raise damaged(start, "the file ends inside a number")


def scan(buf: Buffer, pos: int, end: int) -> Iterator[tuple[int, int, int]]:  # noqa: PLR0912  the hot loop
    """The fields of the message in [pos, end): (tag, value, 0) for a number, (tag, start, stop) for the rest.

    Skips payloads by their length, so their bytes are never touched. Raises :class:`ModelError`.
    """
    while pos < end:
        start = pos
        tag = buf[pos]
        pos += 1
        if tag >= 0x80:
            tag, pos = varint(buf, start, end)
        wire = tag & 7
        if tag < 8:
            raise damaged(start, "field number 0")
        if wire == 2:
            if pos >= end:
                raise damaged(pos, "the file ends where a length should stand")
            size = buf[pos]
            pos += 1
            if size >= 0x80:
                size, pos = varint(buf, pos - 1, end)
            stop = pos + size
            if stop > end:
                raise damaged(start, f"expected {size} more bytes in its message, got {end - pos}")
            yield tag, pos, stop
            pos = stop
        elif wire == 0:
            if pos >= end:
                raise damaged(pos, "the file ends where a number should stand")
            value = buf[pos]
            pos += 1
            if value >= 0x80:
                value, pos = varint(buf, pos - 1, end)
            yield tag, value, 0
        else:
            size = 4 if wire == 5 else 8 if wire == 1 else 0
            if not size:
                raise damaged(start, f"wire type {wire} is not one that ONNX uses")
            if pos + size > end:
                raise damaged(start, f"expected {size} more bytes in its message, got {end - pos}")
            yield tag, pos, pos + size
            pos += size


def signed(value: int) -> int:
    """An int64 or int32 from the unsigned number on the wire."""
    return value - (1 << 64) if value >> 63 else value


def text(buf: Buffer, start: int, stop: int) -> str:
    try:
        return buf[start:stop].decode()
    except UnicodeDecodeError:
        raise damaged(start, "a name is not valid UTF-8") from None


def varints(buf: Buffer, start: int, stop: int) -> list[int]:
    """Packed int64 values."""
    found = []
    while start < stop:
        value = buf[start]
        start += 1
        if value >= 0x80:
            value, start = varint(buf, start - 1, stop)
        found.append(value - (1 << 64) if value >> 63 else value)
    return found


def floats(buf: Buffer, start: int, stop: int) -> list[float]:
    """Packed float32 values."""
    count, rest = divmod(stop - start, 4)
    if rest:
        raise damaged(start, f"expected whole 4-byte floats, got {stop - start} bytes")
    return list(struct.unpack(f"<{count}f", buf[start:stop]))


def varint_bytes(value: int) -> bytes:
    """``value`` on the wire; negative ones as 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _SINGLE[value]
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes | str | int) -> bytes:
    """One field: a number as varint, text and bytes length-delimited."""
    if isinstance(payload, int):
        return varint_bytes(number << 3) + varint_bytes(payload)
    if isinstance(payload, str):
        payload = payload.encode()
    return varint_bytes(number << 3 | 2) + varint_bytes(len(payload)) + payload
