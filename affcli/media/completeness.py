"""Whether all of a track was decoded, judged by counting: what the container announces against what came out.

What a decoder complains of is no evidence by itself (a broken tag, a cover, a group of pictures whose beginning is not
in the file), so it is told with `-v` only. Where something is missing, the first complaint is told as the reason.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Final

from affcli.errors import counted
from affcli.media.decoder import Decoder

_MUCH: Final = 0.1  # of a file's frames; an open group of pictures at the beginning is less
_SHORT_S: Final = Fraction(1, 4)  # a container's length is no exacter: priming, padding, the last frame's duration

log = logging.getLogger(__name__)


def missing_frames(path: Path, decoder: Decoder, frames: int) -> str | None:
    """How many of a picture track's frames are missing, in one line; None where none is. After `finish`."""
    assert decoder.packets is not None
    announced = decoder.packets.announced
    before, inside = decoder.packets.lost()
    lost = max(0, min(inside, announced - frames))
    if before and announced > frames:
        text = f"the first {counted(before, 'frame')} of {announced:,} depend on pictures that are not in the file"
        if before > _MUCH * announced:
            return f"{text}, so they are missing"
        log.warning("%s: %s, so the rows begin after them.", path, text)
    if lost:
        of_all = f"{lost:,} of {counted(announced, 'frame')} ({_share(lost, announced)})"
        return f"{of_all} could not be decoded{_reason(decoder)}"
    return _cut_short(path, decoder, frames) or _damaged(path, decoder, frames)


def missing_sound(path: Path, decoder: Decoder, decoded_s: Fraction, end_s: Fraction) -> str | None:
    """How much of a sound track is missing, in one line; None where nothing is. After `finish`.

    `decoded_s` is the length of the samples, `end_s` the time at which they end.
    """
    assert decoder.packets is not None
    announced_s = decoder.packets.length_s
    lost_s = announced_s - decoded_s
    if lost_s > max(_SHORT_S, announced_s / 1000) and decoder.errors:
        share = _share(float(lost_s), float(announced_s))
        of_all = f"{float(lost_s):.1f} of {float(announced_s):.1f} s of sound ({share})"
        return f"{of_all} could not be decoded{_reason(decoder)}"
    return _cut_short(path, decoder, None, end_s)


def _cut_short(path: Path, decoder: Decoder, frames: int | None, end_s: Fraction | None = None) -> str | None:
    """What is missing at the end of a file that ends before its header says so.

    A longer track of another kind would look the same, so only a complaint about the container makes it certain, or
    that there is no other track.
    """
    found = decoder.description
    reached_s = decoder.reached_s if end_s is None else end_s
    if found.duration_s is None or not (decoder.demuxer_errors or len(found.tracks) == 1):
        _tell_complaints(path, decoder)
        return None
    # Some containers count their length from 0, some from their start: the shorter reading counts.
    short_s = found.duration_s - reached_s - max(found.start_s, Fraction(0))
    if short_s <= max(_SHORT_S, 2 * decoder.last_step_s):
        _tell_complaints(path, decoder)
        return None
    have = "" if frames is None else f"; {counted(frames, 'frame')} are there"
    return (
        f"the file ends at {float(reached_s):.2f} s, {float(short_s):.2f} s "
        f"({_share(float(short_s), float(found.duration_s))}) before its header says{have}{_reason(decoder)}"
    )


def _damaged(path: Path, decoder: Decoder, frames: int) -> str | None:
    if not decoder.damaged_frames:
        return None
    share = _share(decoder.damaged_frames, frames)
    return f"{decoder.damaged_frames:,} of {counted(frames, 'frame')} ({share}) are damaged{_reason(decoder)}"


def _tell_complaints(path: Path, decoder: Decoder) -> None:
    for text in decoder.errors:
        log.info("%s: ffmpeg says: %s", path, text)


def _reason(decoder: Decoder) -> str:
    return f" ({decoder.errors[0]})" if decoder.errors else ""


def _share(part: float, whole: float) -> str:
    """In per cent, never rounded to nothing."""
    percent = 100 * part / whole if whole else 100.0
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1g} %"
