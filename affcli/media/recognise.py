"""What a file is by its first bytes: bare streams that ffmpeg takes for pictures, and why others cannot be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

_JPEG: Final = b"\xff\xd8\xff"
_PICTURES: Final = (_JPEG, b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
_PLAYLISTS: Final = (b"#EXTM3U", b"ffconcat", b"<?xml", b"[playlist]")
_MP4_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_SEARCHED: Final = 1 << 26  # bytes; one JPEG picture is smaller
_ENCRYPTED_SAMPLES: Final = (
    b"encv",
    b"enca",
    b"drmi",
    b"drms",
    b"aavd",
)  # sample entries of ISO/IEC 23001-7, Apple, Audible
_BOXES_ON_THE_WAY: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl")

ENCRYPTED: Final = "its content is encrypted (DRM), so nothing in it can be decoded; give a copy without protection"


def is_motion_jpeg(path: Path) -> bool:
    """Whether a file is a bare sequence of JPEG pictures (MJPEG) and not one picture.

    A multi-picture file of a camera (MPO, CIPA DC-007), which its APP2 segment names, is one picture.
    """
    with path.open("rb") as file:
        if file.read(3) != _JPEG:
            return False
        file.seek(0)
        data = file.read(_SEARCHED)
    end = _end_of_jpeg(data)
    return end is not None and data[end : end + 3] == _JPEG and b"MPF\0" not in data[: min(end, 1 << 16)]


def _end_of_jpeg(data: bytes) -> int | None:
    """Where the first JPEG picture ends, by its segments (ITU-T T.81, annex B); None where it does not."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xD9:
            return at + 2
        if marker == 0xFF:
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # the scan: up to a marker that is neither stuffing nor a restart
            at = data.find(b"\xff", at)
            while 0 <= at < len(data) - 1 and (data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7):
                at = data.find(b"\xff", at + 2)
            if at < 0:
                return None
    return None


def is_cut_flv(path: Path) -> bool:
    """Whether an FLV file ends before its last tag does, which ffmpeg passes over in silence.

    Every tag (type, 24-bit size of its data, 7 more bytes, the data) is followed by its own size in 4 bytes.
    """
    with path.open("rb") as file:
        if file.read(3) != b"FLV":
            return False
        end = file.seek(0, os.SEEK_END)
        file.seek(end - 4)
        tag_bytes = int.from_bytes(file.read(4), "big")
        if not 11 <= tag_bytes <= end - 4:
            return True
        file.seek(end - 4 - tag_bytes + 1)
        return int.from_bytes(file.read(3), "big") + 11 != tag_bytes


def is_encrypted_mp4(path: Path) -> bool:
    """Whether a track of an MP4 or QuickTime file is encrypted: its sample entry has the name of protected media."""
    with path.open("rb") as file:
        if file.read(8)[4:8] not in _MP4_BOXES:
            return False
        return any(name in _ENCRYPTED_SAMPLES for name in _sample_entries(file, 0, os.fstat(file.fileno()).st_size))


def _sample_entries(file: BinaryIO, start: int, end: int, depth: int = 0) -> list[bytes]:
    """The names of the sample entries in all sample descriptions (`stsd`) between two places of the file."""
    names: list[bytes] = []
    at = start
    while at + 8 <= end and depth < len(_BOXES_ON_THE_WAY) + 1:
        file.seek(at)
        head = file.read(16)
        size, name, begin = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), at + 16
        size = size or end - at
        if size < begin - at:
            break
        if name in _BOXES_ON_THE_WAY:
            names += _sample_entries(file, begin, min(at + size, end), depth + 1)
        elif name == b"stsd":
            names.append(_first_entry(file, begin))
        at += size
    return names


def _first_entry(file: BinaryIO, begin: int) -> bytes:
    """Version and flags, the number of entries and the entry's size come before its name: 4 bytes each."""
    file.seek(begin + 12)
    return file.read(4)


def why_unreadable(path: Path, errors: Sequence[str]) -> str:
    """One reason, in plain words, why ffmpeg found no media in a file."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "the file is empty (0 bytes)"
    if head.startswith(_PICTURES) or head[8:12] == b"WEBP":
        return "this is a picture; give videos, or a folder of numbered pictures (00001.jpg, …)"
    if head.startswith(_PLAYLISTS):
        return "this is a playlist; give the media files themselves"
    text = errors[0] if errors else "no stream found"
    if head[4:8] in _MP4_BOXES:
        return f"its index is missing: the file was cut off or never finished ({text})"
    if text.startswith(("Format not on whitelist", "moov atom not found")):
        return "not a video or sound file"
    return f"not a video or sound file, or its beginning is missing ({text})"
