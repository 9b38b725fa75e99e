"""What the boxes of an MP4 or QuickTime file (ISO/IEC 14496-12) tell before anything is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_ENCRYPTED_SAMPLES: Final = (
    b"encv",
    b"enca",
    b"drmi",
    b"drms",
    b"aavd",
)  # sample entries of ISO/IEC 23001-7, Apple, Audible
_HOLDS_BOXES: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_DESCRIBES: Final = (b"hdlr", b"mdhd", b"stsd", b"stsz")
_PICTURE, _SOUND = b"vide", b"soun"  # handlers
_OF_DATA: Final = b"dhlr"  # in QuickTime, one that handles no track


class _Box(NamedTuple):
    name: bytes
    begin: int  # of its content
    end: int


def begins_like_mp4(head: bytes) -> bool:
    """Whether a file's first 8 bytes are those of a box that such files begin with."""
    return head[4:8] in _FIRST_BOXES


def is_encrypted_mp4(path: Path) -> bool:
    """Whether a track of an MP4 or QuickTime file is encrypted: its sample entry has the name of protected media."""
    with path.open("rb") as file:
        # Version and flags, the number of entries and the entry's size come before its name: 4 bytes each.
        entries = (_content(file, box, 16)[12:] for box in _boxes_of(file) if box.name == b"stsd")
        return any(name in _ENCRYPTED_SAMPLES for name in entries)


class Clip(NamedTuple):
    """What a header announces: bytes of all pictures, decoded, and the length of the sound, whose unit is a tick, in
    most files a sample."""

    picture_bytes: int
    sound_s: float
    tick_s: float


def plain_clip(path: Path) -> Clip | None:
    """What the header of an MP4 file announces that has one picture track, one sound track and nothing else.

    None for any other file, and for one that comes in fragments, which its header need not announce.
    """
    tracks: list[dict[bytes, bytes]] = []
    with path.open("rb") as file:
        for box in _boxes_of(file):
            if box.name == b"mvex":
                return None
            if box.name == b"trak":
                tracks.append({})
            elif tracks and box.name in _DESCRIBES and (content := _content(file, box, 44))[4:8] != _OF_DATA:
                tracks[-1][box.name] = content
    by_handler = {track.get(b"hdlr", b"")[8:12]: track for track in tracks}
    if len(tracks) != 2 or set(by_handler) != {_PICTURE, _SOUND}:
        return None
    picture, sound = by_handler[_PICTURE], by_handler[_SOUND]
    width, height = _number(picture, b"stsd", 40, 2), _number(picture, b"stsd", 42, 2)
    # A media header: version and flags, two times, ticks per second, length.
    at, size = (20, 8) if sound.get(b"mdhd", b"")[:1] == b"\1" else (12, 4)
    ticks, rate = _number(sound, b"mdhd", at + 4, size), _number(sound, b"mdhd", at, 4) or 1
    return Clip(3 * width * height * _number(picture, b"stsz", 8, 4), ticks / rate, 1 / rate)


def _number(track: dict[bytes, bytes], name: bytes, at: int, size: int) -> int:
    return int.from_bytes(track.get(name, b"")[at : at + size], "big")


def _content(file: BinaryIO, box: _Box, size: int) -> bytes:
    """The first bytes of a box, what follows it included."""
    file.seek(box.begin)
    return file.read(size)


def _boxes_of(file: BinaryIO) -> Iterator[_Box]:
    """The boxes of a file on the way to its sample descriptions; none of what is no such file."""
    if begins_like_mp4(file.read(8)):
        yield from _boxes(file, 0, os.fstat(file.fileno()).st_size)


def _boxes(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[_Box]:
    """The boxes between two places of a file, each before those inside it."""
    at = start
    while at + 8 <= end and depth < len(_HOLDS_BOXES) + 1:
        file.seek(at)
        head = file.read(16)
        size, name, begin = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), at + 16
        size = size or end - at
        if size < begin - at:
            break
        yield _Box(name, begin, min(at + size, end))
        if name in _HOLDS_BOXES:
            yield from _boxes(file, begin, min(at + size, end), depth + 1)
        at += size
