"""The label band of a video as a picture a pixel high: 300 bytes each in a list of thousands."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from affcli.palette import channels
from affcli.views.timeline import Timeline

WIDTH: Final = 240  # pixels


def strip_png(found: Timeline, colours: Sequence[str]) -> bytes:
    """A PNG of the labels over time in these colours, one for each class; what has no label is transparent."""
    length = found.length or 1.0
    middle = found.edge[0] + (np.arange(WIDTH) + 0.5) / WIDTH * length
    label = found.label[np.clip(np.searchsorted(found.edge, middle, side="right") - 1, 0, len(found.label) - 1)]
    index = np.where(label < 0, len(colours), label).astype(np.uint8)
    palette = b"".join(bytes(channels(colour)) for colour in colours) + b"\0\0\0"
    opaque = b"\xff" * len(colours) + b"\0"
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, 1, 8, 3, 0, 0, 0)),  # 8 bits, from a palette
            _chunk(b"PLTE", palette),
            _chunk(b"tRNS", opaque),
            _chunk(b"IDAT", zlib.compress(b"\0" + index.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def data_address(png: bytes) -> str:
    """The picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
