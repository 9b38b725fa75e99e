"""What a file is by its first bytes: bare streams that ffmpeg takes for pictures, and why others cannot be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from affcli.media.mp4_boxes import begins_like_mp4

_JPEG: Final = b"\xff\xd8\xff"
_PICTURES: Final = (_JPEG, b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
_PLAYLISTS: Final = (b"#EXTM3U", b"ffconcat", b"<?xml", b"[playlist]")
_SEARCHED: Final = 1 << 26  # bytes; one JPEG picture is smaller

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
    if begins_like_mp4(head):
        return f"its index is missing: the file was cut off or never finished ({text})"
    if text.startswith(("Format not on whitelist", "moov atom not found")):
        return "not a video or sound file"
    return f"not a video or sound file, or its beginning is missing ({text})"
