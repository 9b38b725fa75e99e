"""A stream of raw pictures with exact times: the least of Matroska that ffmpeg reads from a pipe.

Raw video has no times of its own, and ffmpeg's other raw formats know only a constant rate. Element names and ids are
those of RFC 9559; every picture is a cluster of its own, so that nothing is held back.
"""

from __future__ import annotations

import struct
from typing import Final

TICKS: Final = 1_000_000  # a second's
_UNKNOWN_SIZE: Final = b"\x01\xff\xff\xff\xff\xff\xff\xff"

_EBML, _DOC_TYPE, _DOC_TYPE_VERSION, _DOC_TYPE_READ = 0x1A45DFA3, 0x4282, 0x4287, 0x4285
_SEGMENT, _INFO, _TIMESTAMP_SCALE = 0x18538067, 0x1549A966, 0x2AD7B1
_TRACKS, _TRACK_ENTRY, _NUMBER, _UID, _TYPE, _CODEC = 0x1654AE6B, 0xAE, 0xD7, 0x73C5, 0x83, 0x86
_VIDEO, _WIDTH, _HEIGHT, _FOUR_CC = 0xE0, 0xB0, 0xBA, 0x2EB524
_CLUSTER, _TIMESTAMP, _BLOCK_GROUP, _BLOCK, _DURATION = 0x1F43B675, 0xE7, 0xA0, 0xA1, 0x9B


def header(width: int, height: int) -> bytes:
    """What comes before the pictures: one track of RGB, 8 bits each, times in microseconds."""
    types = _text(_DOC_TYPE, b"matroska") + _number(_DOC_TYPE_VERSION, 4) + _number(_DOC_TYPE_READ, 2)
    size = _number(_WIDTH, width) + _number(_HEIGHT, height) + _text(_FOUR_CC, b"RGB\x18")
    track = _number(_NUMBER, 1) + _number(_UID, 1) + _number(_TYPE, 1) + _text(_CODEC, b"V_UNCOMPRESSED")
    info = _element(_INFO, _number(_TIMESTAMP_SCALE, 1_000_000_000 // TICKS))
    tracks = _element(_TRACKS, _element(_TRACK_ENTRY, track + _element(_VIDEO, size)))
    return _element(_EBML, types) + _id(_SEGMENT) + _UNKNOWN_SIZE + info + tracks


def before_picture(ticks: int, duration_ticks: int, size: int) -> bytes:
    """What comes before a picture of `size` bytes that is shown from `ticks` microseconds on, for so many.

    Without its duration the last picture would be shown for no time, and players would leave it out.
    """
    block = b"\x81" + struct.pack(">hB", 0, 0)  # track 1, at the cluster's time
    inner = _number(_DURATION, duration_ticks) + _id(_BLOCK) + _size(len(block) + size) + block
    group = _id(_BLOCK_GROUP) + _size(len(inner) + size) + inner
    stamp = _number(_TIMESTAMP, ticks)
    return _id(_CLUSTER) + _size(len(stamp) + len(group) + size) + stamp + group


def _element(number: int, content: bytes) -> bytes:
    return _id(number) + _size(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _element(number, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _text(number: int, value: bytes) -> bytes:
    return _element(number, value)


def _id(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _size(size: int) -> bytes:
    """In eight bytes, of which the first bit that is set says so."""
    return (size | 1 << 56).to_bytes(8, "big")
