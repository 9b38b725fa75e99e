"""Which picture track of a file is read: the one that its default flag names, else the longest; never a cover."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final

from affcli.media.decoder import Decoder, Outputs
from affcli.media.ffmpeg import MediaError, check_file
from affcli.media.ffmpeg_log import Description, Track
from affcli.media.mp4_boxes import is_encrypted_mp4
from affcli.media.plain_sound import is_plain_wav
from affcli.media.recognise import ENCRYPTED, is_motion_jpeg, why_unreadable
from affcli.media.track_choice import ASSUMED_FPS, TrackChoice

NO_PICTURE: Final = "no video stream in this file, only sound (and at most a cover picture)"
_SOUND_BESIDE_A_STILL_S: Final = 1

log = logging.getLogger(__name__)

Plan = Callable[[str, tuple[str, ...]], Outputs]  # the track, as ffmpeg maps it, and options of the demuxer


def open_picture_track(path: Path, choice: TrackChoice, plan: Plan) -> Decoder:
    """A decoder of the picture track that counts.

    It is begun with the first track that is no cover, which is nearly always the one, and begun again where the file,
    once opened, shows that another one counts. Raises MediaError where the chosen track is not there.
    """
    check_file(path)
    if choice.video is None and is_plain_wav(path):  # no need to ask ffmpeg
        raise MediaError(path, NO_PICTURE)
    track, reading = _first_guess(path, choice)
    decoder = Decoder(path, plan(track, reading))
    try:
        refuse_encrypted(path, decoder.description)
        better = _corrected(path, choice, decoder.description, track, reading)
    except BaseException:
        decoder.close()
        raise
    if better is None:
        return decoder
    decoder.close()
    return Decoder(path, plan(*better))


def _first_guess(path: Path, choice: TrackChoice) -> tuple[str, tuple[str, ...]]:
    track = "0:V:0" if choice.video is None else f"0:v:{choice.video - 1}"
    return track, reading_options(path, choice)


def reading_options(path: Path, choice: TrackChoice) -> tuple[str, ...]:
    """What ffmpeg has to be told of a file that it would take for something else."""
    if not is_motion_jpeg(path):
        return ()
    if choice.fps is None:
        _note_assumed(path)
    return ("-f", "mjpeg", "-framerate", f"{choice.fps or ASSUMED_FPS:g}")


def _corrected(
    path: Path, choice: TrackChoice, found: Description, track: str, reading: tuple[str, ...]
) -> tuple[str, tuple[str, ...]] | None:
    """Track and options to begin again with; None where the first guess was right."""
    if found.has_no_times and not reading:
        if choice.fps is not None:
            return track, ("-framerate", f"{choice.fps:g}")
        _note_assumed(path)
    if choice.video is not None:
        there = len(found.of_kind("Video"))
        if found.tracks and choice.video > there:
            raise MediaError(path, f"--video-track {choice.video}: the file has {there} picture tracks")
        return None
    if len(found.pictures) < 2:
        return None
    best = _best(path, found)
    number = found.of_kind("Video").index(best) + 1
    note(
        path,
        f"{len(found.pictures)} picture tracks; number {number} is read ({best.about.split(',')[0]}). "
        "Choose another with --video-track N.",
    )
    return None if best == found.pictures[0] else (f"0:{best.index}", reading)


def track_read(decoder: Decoder) -> Track | None:
    """The picture track that a decoder reads."""
    found = decoder.description
    *_, kind, number = decoder.counted.split(":")
    of_kind = {"V": found.pictures, "v": found.of_kind("Video")}.get(kind)
    if of_kind is None:
        return next((track for track in found.tracks if track.index == int(number)), None)
    return of_kind[int(number)] if int(number) < len(of_kind) else None


def _best(path: Path, found: Description) -> Track:
    flagged = [track for track in found.pictures if track.is_default]
    if len(flagged) == 1 and not flagged[0].may_be_still:
        return flagged[0]
    spans = {track: span_of(path, track.index) for track in found.pictures}
    moving = [track for track in found.pictures if spans[track].count > 1] or found.pictures
    candidates = [track for track in flagged if track in moving] or moving
    return max(candidates, key=lambda track: spans[track].length_s)  # the first of equals


@dataclass(frozen=True)
class Span:
    """How many packets a track has, and the time from the first to the last."""

    count: int
    length_s: Fraction


def span_of(path: Path, index: int) -> Span:
    """Reads a track's packets without decoding them."""
    count, times = 0, [Fraction(0), Fraction(0)]
    copied = ["-map", f"0:{index}", "-c", "copy", "-copyinkf", "-copypriorss", "1"]
    decoder = Decoder(path, Outputs((), (copied,)))
    try:
        for stamp in decoder.stamps():
            times = (
                [stamp.time_s, stamp.time_s]
                if not count
                else [min(times[0], stamp.time_s), max(times[1], stamp.time_s)]
            )
            count += 1
    finally:
        decoder.close()
    return Span(count, times[1] - times[0])


def is_still(path: Path, found: Description) -> bool:
    """Whether the one picture that a file has shown lies beside sound that goes on: a cover without its mark."""
    return any(span_of(path, track.index).length_s > _SOUND_BESIDE_A_STILL_S for track in found.of_kind("Audio"))


def refuse_encrypted(path: Path, found: Description) -> None:
    """Raises MediaError for media that cannot be decoded without a key; what comes of them is noise."""
    if found.encrypted or is_encrypted_mp4(path):
        raise MediaError(path, ENCRYPTED)


def no_frames(path: Path, decoder: Decoder) -> MediaError:
    """Why no frame came."""
    found, errors = decoder.description, decoder.errors
    if not found.tracks:
        return MediaError(path, why_unreadable(path, errors))
    if not found.pictures:
        return MediaError(path, NO_PICTURE)
    if not errors:
        return MediaError(path, "no frame in this file's video stream")
    return MediaError(path, f"not a single frame could be decoded ({errors[0]})")


def _note_assumed(path: Path) -> None:
    note(path, f"a bare stream without times; {ASSUMED_FPS:g} frames/s are assumed. Give its rate with --fps.")


@cache
def note(path: Path, text: str) -> None:
    """Says something of a file, once, however often it is opened."""
    log.warning("%s: %s", path, text)
