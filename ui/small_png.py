"""A screenshot with a palette: a page has few colours, and the repository keeps every picture for ever."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["made_small"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def made_small(png: bytes) -> bytes:
    """The same picture in its 256 most frequent colours; others become the nearest. ``png``: 8 bits, RGB or RGBA, not
    interlaced, as Chromium gives it."""
    pixels = _decoded(png)
    height, width, _ = pixels.shape
    flat = pixels.reshape(-1, 3).astype(np.uint32)
    codes, places, counts = np.unique(
        flat[:, 0] << 16 | flat[:, 1] << 8 | flat[:, 2], return_inverse=True, return_counts=True
    )
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.int32)
    palette = colours[np.argsort(counts)[::-1][:256]]
    nearest = np.empty(len(colours), dtype=np.uint8)
    for first in range(0, len(colours), 4096):
        part = colours[first : first + 4096, None, :] - palette[None, :, :]
        nearest[first : first + 4096] = np.argmin((part * part).sum(axis=2), axis=1)
    indexed = nearest[places.reshape(-1)].reshape(height, width)
    # Each line begins with its filter: none.
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), indexed], axis=1)
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _decoded(png: bytes) -> NDArray[np.uint8]:
    """Height x width x red, green, blue."""
    if not png.startswith(_SIGNATURE):
        raise ValueError("no PNG")
    place, packed, header = len(_SIGNATURE), b"", b""
    while place < len(png):
        (size,), kind = struct.unpack(">I", png[place : place + 4]), png[place + 4 : place + 8]
        body = png[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed += body
        place += size + 12
    width, height, depth, form, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if depth != 8 or form not in (2, 6) or interlaced:
        raise ValueError(f"a PNG of another kind: depth {depth}, form {form}")
    step = 3 if form == 2 else 4
    lines = np.frombuffer(zlib.decompress(packed), dtype=np.uint8).reshape(height, 1 + width * step)
    found = np.zeros((height, width * step), dtype=np.uint8)
    above = np.zeros(width * step, dtype=np.uint8)
    for row in range(height):
        above = found[row] = _unfiltered(int(lines[row, 0]), lines[row, 1:], above, step)
    return found.reshape(height, width, step)[:, :, :3]


def _unfiltered(kind: int, line: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """One line as it was before its filter (PNG, part 9)."""
    if kind == 0:
        return line.copy()
    if kind == 1:
        sums = np.cumsum(line.reshape(-1, step).astype(np.uint64), axis=0)
        return (sums & 255).astype(np.uint8).reshape(-1)
    if kind == 2:
        return line + above
    known = [0] * step
    before = [0] * step
    for i, (value, up) in enumerate(zip(line.tolist(), above.tolist(), strict=True)):
        left, corner = known[i], before[i]
        guess = (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
        known.append((value + guess) & 255)
        before.append(up)
    return np.array(known[step:], dtype=np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    far = (abs(guess - left), abs(guess - up), abs(guess - corner))
    return (left, up, corner)[far.index(min(far))]
