"""Sound on the file's own clock, in pieces that do not depend on how, or how often, it is read.

Up to 30 s of sound is one piece (less where an encoder takes less). Longer sound is cut on a fixed grid from the
track's first sample, and each piece comes with 2 s of its neighbours either side (encoders normalise over their whole
input, so the cutting is part of a feature's definition).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final

from affcli.media.ffmpeg import MediaError
from affcli.media.ffmpeg_log import Description
from affcli.media.heard_track import HeardTrack, tell_heard
from affcli.media.picture_track import note
from affcli.media.recognise import why_unreadable
from affcli.media.sound_beside import HEARING, SoundsBeside
from affcli.media.sound_placing import Placed, SoundPiece, cut
from affcli.media.sound_source import Block, SoundSource
from affcli.media.sound_track import Hearing, open_track
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.media.video import starts_s

PIECE_S: Final = 30
CONTEXT_S: Final = 2


def open_sound(
    path: Path,
    *,
    sample_rate_hz: int,
    piece_s: int = PIECE_S,
    choice: TrackChoice = FILES_OWN,
    beside: SoundsBeside | None = None,
) -> SoundPieces:
    """The sound of a file's first sound track as pieces of `piece_s` seconds, mono at the rate asked for.

    There are none where the file has no sound. `beside` may have the sound already.

    Raises MediaError for what is no media file.
    """
    return SoundPieces(path, sample_rate_hz=sample_rate_hz, piece_s=piece_s, choice=choice, beside=beside)


class SoundPieces:
    """An iterator over a sound track's pieces, and a context manager: leaving it frees the decoder at once.

    `has_sound` is known from the start. `end_s` is the time at which the pieces so far end, 0 before the first, and
    `starts_s` the time at which players play what is at 0. After the last piece, `problem` says in one line why the
    sound was decoded only in part, or is None.
    """

    def __init__(
        self,
        path: Path,
        *,
        sample_rate_hz: int,
        piece_s: int = PIECE_S,
        choice: TrackChoice = FILES_OWN,
        beside: SoundsBeside | None = None,
    ) -> None:
        """Starts decoding and reads the first samples, so that a file that is no media fails here (MediaError)."""
        self.end_s = 0.0
        self.problem: str | None = None
        self._path, self._rate, self._piece_s, self._choice = path, sample_rate_hz, piece_s, choice
        self._pieces: Iterator[SoundPiece] = iter(())
        self._beside = beside
        first = self._open(None)
        self.has_sound = bool(first)
        self.starts_s = starts_s(self._description)
        if first:
            self._pieces = self._pieces_of(first)

    @property
    def _description(self) -> Description:
        return self._track.source.description

    @property
    def has_picture(self) -> bool:
        """Whether the file has a picture track beside the sound, if only a cover."""
        return bool(self._description.of_kind("Video"))

    @property
    def stated_s(self) -> float | None:
        """How long the file says it is; None where it does not."""
        stated = self._description.duration_s
        return None if stated is None else float(stated)

    @property
    def pictures_expected(self) -> int | None:
        """About how many pictures the file says it has beside the sound."""
        return self._description.frames_expected

    def _open(self, hearing: Hearing | None) -> list[Block]:
        """Begins with a track: its first half a minute, by which is judged how it is to be heard."""
        there = None if hearing or self._beside is None else self._beside.take(self._path, self._rate)
        source: SoundSource
        source, hearing = (there, HEARING) if there else open_track(self._path, self._choice, self._rate, hearing)
        self._track = HeardTrack(source, hearing, self._rate)
        try:
            first = list(islice_seconds(self._track.blocks(), PIECE_S))
            if not first:
                return self._next_or_nothing(hearing)
            if self._track.is_in_antiphase(first):
                note(self._path, "left and right of its sound cancel each other (antiphase); only the left is heard.")
                self._track.source.close()
                return self._open(hearing.with_one_channel())
        except BaseException:
            self._track.source.close()
            raise
        self._track.settle_scale(first)
        return first

    def _next_or_nothing(self, hearing: Hearing) -> list[Block]:
        """The next track where the first cannot be decoded and none was chosen; nothing where there is no sound.

        Raises MediaError for what is no media.
        """
        errors, number = self._track.source.errors, int(hearing.track.rpartition(":")[2])
        tracks = self._description.of_kind("Audio")
        if not self._description.tracks:
            raise MediaError(self._path, why_unreadable(self._path, errors))
        if self._choice.audio == "first" and number + 1 < len(tracks):
            note(self._path, f"sound track {number + 1} cannot be decoded; the next one is heard.")
            self._track.source.close()
            return self._open(Hearing(f"0:a:{number + 1}"))
        if tracks:
            reason = f" ({errors[0]})" if errors else ""
            self.problem = f"the sound track cannot be decoded{reason}"
        return []

    def _pieces_of(self, first: list[Block]) -> Iterator[SoundPiece]:
        track = self._track
        blocks = map(track.scaled, chain(first, track.blocks()))
        placed = Placed(self._rate, continuous=self._description.container == "avi")
        piece, context = self._piece_s * self._rate, CONTEXT_S * self._rate
        start_s = first[0][0]
        for found in cut(placed.runs(blocks), start_s, self._rate, piece, context):
            self.end_s = found.start_s + found.keep_to / self._rate
            yield found
        self.problem = track.source.finish() or track.source.missing(
            Fraction(track.count, self._rate), start_s + Fraction(placed.position, self._rate)
        )
        tell_heard(self._path, track, placed.dropped / self._rate)

    def close(self) -> None:
        """Ends what still runs; no more pieces come."""
        self._pieces = iter(())
        self._track.source.close()

    def __iter__(self) -> Iterator[SoundPiece]:
        return self

    def __next__(self) -> SoundPiece:
        return next(self._pieces)

    def __enter__(self) -> SoundPieces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def islice_seconds(blocks: Iterator[Block], seconds: float) -> Iterator[Block]:
    """The first blocks, up to the one that begins so many seconds after the first."""
    begin: Fraction | None = None
    for block in blocks:
        begin = block[0] if begin is None else begin
        yield block
        if block[0] - begin >= seconds:
            return
