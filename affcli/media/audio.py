"""Sound on the file's own clock, in pieces that do not depend on how, or how often, it is read.

Up to 30 s of sound is one piece (less where an encoder takes less). Longer sound is cut on a fixed grid from the
track's first sample, and each piece comes with 2 s of its neighbours either side (encoders normalise over their whole
input, so the cutting is part of a feature's definition).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.media.completeness import missing_sound
from affcli.media.decoder import Decoder
from affcli.media.ffmpeg import MediaError
from affcli.media.picture_track import note
from affcli.media.recognise import why_unreadable
from affcli.media.sound_track import SIDE_RATE_HZ, SILENT, Hearing, Side, is_silent, open_track, track_of
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.media.video import starts_s

PIECE_S: Final = 30
CONTEXT_S: Final = 2

# Stamps that are off by less are jitter (of containers that count milliseconds, of recorders) and move nothing; more
# than that, which is less than a frame at 30 frames/s, moves what follows.
_JITTER_S: Final = Fraction(20, 1000)
_LONGEST_GAP_S: Final = 24 * 3600  # beyond that a stamp is broken
_SILENCE_BLOCK_S: Final = 10

_ANTIPHASE: Final = 10  # 10 dB; of two independent channels both energies are equal
_NO_FLOAT: Final = 8  # no mixing desk gives floating-point sound so far beyond full scale
_INTEGER_SCALES: Final = (2.0**15, 2.0**23, 2.0**31)
_FULL: Final = 0.999
_CLIPPED, _MUCH = 0.01, 0.001  # shares of samples at full scale, and beyond it, that are worth a word
_WORTH_TELLING_S: Final = 0.1

Samples = NDArray[np.float32]
Block = tuple[Fraction, Samples]  # the time of the first sample, and the samples
Run = tuple[Samples, bool]  # samples that follow the ones before without a break; whether they come from the file


@dataclass(frozen=True)
class SoundPiece:
    """Mono `samples` float32 [n] in [−1, 1]; `samples[0]` sounds at `start_s` seconds on the file's clock.

    `samples[keep_from:keep_to]` is the piece proper, the rest is context. `keep_from` is a whole number of seconds.
    """

    start_s: float
    samples: Samples
    keep_from: int
    keep_to: int


def open_sound(
    path: Path, *, sample_rate_hz: int, piece_s: int = PIECE_S, choice: TrackChoice = FILES_OWN
) -> SoundPieces:
    """The sound of a file's first sound track as pieces of `piece_s` seconds, mono at the rate asked for.

    There are none where the file has no sound.

    Raises MediaError for what is no media file.
    """
    return SoundPieces(path, sample_rate_hz=sample_rate_hz, piece_s=piece_s, choice=choice)


class SoundPieces:
    """An iterator over a sound track's pieces, and a context manager: leaving it frees the decoder at once.

    `has_sound` is known from the start. `end_s` is the time at which the pieces so far end, 0 before the first, and
    `starts_s` the time at which players play what is at 0. After the last piece, `problem` says in one line why the
    sound was decoded only in part, or is None.
    """

    def __init__(
        self, path: Path, *, sample_rate_hz: int, piece_s: int = PIECE_S, choice: TrackChoice = FILES_OWN
    ) -> None:
        """Starts decoding and reads the first samples, so that a file that is no media fails here (MediaError)."""
        self.end_s = 0.0
        self.problem: str | None = None
        self._path, self._rate, self._piece_s, self._choice = path, sample_rate_hz, piece_s, choice
        self._pieces: Iterator[SoundPiece] = iter(())
        first = self._open(None)
        self.has_sound = bool(first)
        self.starts_s = starts_s(self._track.decoder.description)
        if first:
            self._pieces = self._pieces_of(first)

    @property
    def has_picture(self) -> bool:
        """Whether the file has a picture track beside the sound, if only a cover."""
        return bool(self._track.decoder.description.of_kind("Video"))

    @property
    def stated_s(self) -> float | None:
        """How long the file says it is; None where it does not."""
        stated = self._track.decoder.description.duration_s
        return None if stated is None else float(stated)

    @property
    def pictures_expected(self) -> int | None:
        """About how many pictures the file says it has beside the sound."""
        return self._track.decoder.description.frames_expected

    def _open(self, hearing: Hearing | None) -> list[Block]:
        """Begins with a track: its first half a minute, by which is judged how it is to be heard."""
        decoder, hearing = open_track(self._path, self._choice, self._rate, hearing)
        self._track = _TrackReader(decoder, hearing, self._rate)
        try:
            first = list(islice_seconds(self._track.blocks(), PIECE_S))
            if not first:
                return self._next_or_nothing(hearing)
            if self._track.is_in_antiphase(first):
                note(self._path, "left and right of its sound cancel each other (antiphase); only the left is heard.")
                self._track.close()
                return self._open(hearing.with_one_channel())
        except BaseException:
            self._track.close()
            raise
        self._track.settle_scale(first)
        return first

    def _next_or_nothing(self, hearing: Hearing) -> list[Block]:
        """The next track where the first cannot be decoded and none was chosen; nothing where there is no sound.

        Raises MediaError for what is no media.
        """
        decoder, number = self._track.decoder, int(hearing.track.rpartition(":")[2])
        tracks = decoder.description.of_kind("Audio")
        if not decoder.description.tracks:
            raise MediaError(self._path, why_unreadable(self._path, decoder.errors))
        if self._choice.audio == "first" and number + 1 < len(tracks):
            note(self._path, f"sound track {number + 1} cannot be decoded; the next one is heard.")
            self._track.close()
            return self._open(Hearing(f"0:a:{number + 1}"))
        if tracks:
            reason = f" ({decoder.errors[0]})" if decoder.errors else ""
            self.problem = f"the sound track cannot be decoded{reason}"
        return []

    def _pieces_of(self, first: list[Block]) -> Iterator[SoundPiece]:
        track = self._track
        blocks = map(track.scaled, chain(first, track.blocks()))
        placed = _Placed(self._rate, continuous=track.decoder.description.container == "avi")
        piece, context = self._piece_s * self._rate, CONTEXT_S * self._rate
        start_s = first[0][0]
        for found in _cut(placed.runs(blocks), start_s, self._rate, piece, context):
            self.end_s = found.start_s + found.keep_to / self._rate
            yield found
        self.problem = track.finish() or missing_sound(
            self._path,
            track.decoder,
            Fraction(track.count, self._rate),
            start_s + Fraction(placed.position, self._rate),
        )
        tell_heard(self._path, track, placed.dropped / self._rate)

    def close(self) -> None:
        """Ends what still runs; no more pieces come."""
        self._pieces = iter(())
        self._track.close()

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


class _TrackReader:
    """The blocks of one sound track as they are decoded, and what is found out about them on the way.

    `count` samples came, of which `over` were beyond full scale and `full` at it; `peak` is the largest.
    """

    def __init__(self, decoder: Decoder, hearing: Hearing, rate: int) -> None:
        self.decoder, self.hearing, self._rate = decoder, hearing, rate
        self._side = Side(decoder.data[1])
        self.count = self.over = self.full = 0
        self.peak, self.scale = 0.0, 1.0
        tracks = decoder.description.of_kind("Audio")
        found = track_of(hearing, tracks)
        self.has_floats = found is not None and found.has_floats
        self.number, self.of = int(hearing.track.rpartition(":")[2]) + 1, len(tracks)

    def blocks(self) -> Iterator[Block]:
        """Samples as they are in the file; what is no number is silence."""
        for stamp in self.decoder.stamps():
            data = self.decoder.data[0].read(stamp.size)
            if len(data) < stamp.size:
                break
            yield stamp.time_s, np.nan_to_num(np.frombuffer(data, dtype="<f4"), posinf=1, neginf=-1)

    def is_in_antiphase(self, first: list[Block]) -> bool:
        """Whether the first half a minute has ten times as much energy in the difference of left and right as in what
        they have in common."""
        if self.hearing.takes_one_channel:
            return False
        samples = np.concatenate([samples for _, samples in first])
        seconds = max(1, len(samples) // self._rate)
        mean = float(np.square(samples[: seconds * self._rate], dtype=np.float64).sum()) / self._rate
        side = self._side.energy(seconds) / SIDE_RATE_HZ
        return side > _ANTIPHASE * mean and side / seconds > SILENT**2

    def settle_scale(self, first: list[Block]) -> None:
        """Floating-point samples far beyond 1 were meant as integers of 16, 24 or 32 bits."""
        peak = max((float(np.abs(samples).max()) for _, samples in first if samples.size), default=0.0)
        if self.has_floats and peak > _NO_FLOAT:
            self.scale = next((scale for scale in _INTEGER_SCALES if peak <= scale), _INTEGER_SCALES[-1])
            bits = round(np.log2(self.scale)) + 1
            note(self.decoder.path, f"its samples are at the scale of {bits}-bit integers (up to {peak:,.0f}); scaled.")

    def scaled(self, block: Block) -> Block:
        """A block in [−1, 1]; what is beyond is cut off, and counted."""
        time_s, samples = block
        if self.scale != 1:
            samples = samples / np.float32(self.scale)
        loud = np.abs(samples)
        self.count += samples.size
        self.over += int((loud > 1).sum())
        self.full += int((loud >= _FULL).sum())
        self.peak = max(self.peak, float(loud.max(initial=0)))
        return time_s, np.clip(samples, -1, 1)

    def finish(self) -> str | None:
        """After the last block; what went wrong with the file, in one line, or None."""
        self._side.close()  # before its pipe is
        return self.decoder.finish()

    def close(self) -> None:
        self.decoder.stop()
        self._side.close()
        self.decoder.close()


def tell_heard(path: Path, track: _TrackReader, dropped_s: float) -> None:
    """Says what a listener should know of a track that was heard to its end."""
    seconds = track.count / track._rate
    if dropped_s > _WORTH_TELLING_S:
        share = 100 * dropped_s / max(seconds, dropped_s)
        note(path, f"{dropped_s:.1f} s of its sound ({share:.1g} %) overlap what came before and were dropped.")
    if track.count and track.peak <= SILENT:
        others = [number for number in range(track.of) if number != track.number - 1 and not is_silent(path, number)]
        way = f"; track {others[0] + 1} is not. Choose it with --audio-track {others[0] + 1}." if others else "."
        note(path, f"its sound{f' (track {track.number})' if track.of > 1 else ''} is silent throughout{way}")
    elif track.has_floats and track.over > _MUCH * track.count:
        share = 100 * track.over / track.count
        note(path, f"{share:.2g} % of its samples are beyond full scale (up to {track.peak:.2g}) and are cut off.")
    elif track.full > _CLIPPED * track.count:
        note(path, f"its sound is clipped: {100 * track.full / track.count:.2g} % of the samples are at full scale.")


def islice_seconds(blocks: Iterator[Block], seconds: float) -> Iterator[Block]:
    """The first blocks, up to the one that begins so many seconds after the first."""
    begin: Fraction | None = None
    for block in blocks:
        begin = block[0] if begin is None else begin
        yield block
        if block[0] - begin >= seconds:
            return


def _cut(runs: Iterator[Run], first_s: Fraction, rate: int, piece: int, context: int) -> Iterator[SoundPiece]:
    """Pieces [piece · k, piece · (k + 1)) of the track with their context; one that lies in a gap is left out."""
    track = _Held()
    begin = 0
    for samples, heard in runs:
        track.append(samples, heard=heard)
        while track.stop >= begin + piece + context:
            yield from track.piece(begin, begin + piece, context, first_s, rate)
            begin += piece
            track.drop_before(begin - context)
    while begin < track.stop:
        yield from track.piece(begin, min(begin + piece, track.stop), context, first_s, rate)
        begin += piece


class _Held:
    """The samples [start, stop) of a track, counted from its first, that are still needed."""

    def __init__(self) -> None:
        self.start = self.stop = 0
        self._parts: list[Samples] = []
        self._heard: list[tuple[int, int]] = []  # which of them come from the file, not from a gap

    def append(self, samples: Samples, *, heard: bool) -> None:
        self._parts.append(samples)
        self.stop += len(samples)
        if heard:
            span = (self.stop - len(samples), self.stop)
            if self._heard and self._heard[-1][1] == span[0]:
                span = (self._heard.pop()[0], span[1])
            self._heard.append(span)

    def piece(self, begin: int, end: int, context: int, first_s: Fraction, rate: int) -> Iterator[SoundPiece]:
        if not any(start < end and stop > begin for start, stop in self._heard):
            return
        self._parts = [np.concatenate(self._parts)]
        shown_from, shown_to = max(begin - context, self.start), min(end + context, self.stop)
        samples = self._parts[0][shown_from - self.start : shown_to - self.start]
        start_s = float(first_s + Fraction(shown_from, rate))
        yield SoundPiece(start_s, samples, begin - shown_from, end - shown_from)

    def drop_before(self, position: int) -> None:
        self._parts = [np.concatenate(self._parts)[position - self.start :]]
        self.start = position
        self._heard = [span for span in self._heard if span[1] > position]


class _Placed:
    """Puts blocks where their times say, as one track without a break.

    A gap in the times becomes silence; samples whose time has passed are dropped. Where the container gives sound no
    times but its order (`continuous`: AVI), each block follows the one before. `position` is how many samples the track
    has so far, `dropped` how many had no place in it.
    """

    def __init__(self, rate: int, *, continuous: bool = False) -> None:
        self._rate, self._continuous = rate, continuous
        self.position = self.dropped = 0

    def runs(self, blocks: Iterator[Block]) -> Iterator[Run]:
        begin_s: Fraction | None = None
        for time_s, samples in blocks:
            begin_s = time_s if begin_s is None else begin_s
            jump = 0 if self._continuous else self._jump(time_s - begin_s)
            for count in _blocks_of(max(jump, 0), _SILENCE_BLOCK_S * self._rate):
                yield np.zeros(count, dtype=np.float32), False
            left = samples[max(-jump, 0) :]
            yield left, True
            self.dropped += len(samples) - len(left)
            self.position += max(jump, 0) + len(left)

    def _jump(self, since_s: Fraction) -> int:
        jump = round(since_s * self._rate) - self.position
        return jump if _JITTER_S * self._rate < abs(jump) < _LONGEST_GAP_S * self._rate else 0


def _blocks_of(total: int, size: int) -> Iterator[int]:
    while total > 0:
        yield min(size, total)
        total -= size
