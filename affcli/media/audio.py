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

from affcli.media.ffmpeg import Decoder, MediaError, why_unreadable
from affcli.media.track_choice import FILES_OWN, TrackChoice

PIECE_S: Final = 30
CONTEXT_S: Final = 2

# Stamps that are off by less are jitter (of containers that count milliseconds, of recorders) and move nothing; more
# than that, which is less than a frame at 30 frames/s, moves what follows.
_JITTER_S: Final = Fraction(20, 1000)
_LONGEST_GAP_S: Final = 24 * 3600  # beyond that a stamp is broken
_SILENCE_BLOCK_S: Final = 10

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
    return SoundPieces(path, sample_rate_hz=sample_rate_hz, piece_s=piece_s)


class SoundPieces:
    """An iterator over a sound track's pieces, and a context manager: leaving it frees the decoder at once.

    `has_sound` is known from the start. `end_s` is the time at which the pieces so far end, 0 before the first. After
    the last piece, `problem` says in one line why the sound was decoded only in part, or is None.
    """

    def __init__(self, path: Path, *, sample_rate_hz: int, piece_s: int = PIECE_S) -> None:
        """Starts decoding and reads the first samples, so that a file that is no media fails here (MediaError)."""
        self.end_s = 0.0
        self.starts_s = 0.0
        self.problem: str | None = None
        self._rate = sample_rate_hz
        self._decoder = Decoder(path, *_outputs(sample_rate_hz))
        blocks = self._blocks()
        try:
            first = next(blocks, None)
            if first is None:
                self._explain_silence()
        except BaseException:
            self.close()
            raise
        self.has_sound = first is not None
        self._pieces: Iterator[SoundPiece] = iter(())
        if first is not None:
            runs = _without_gaps(first, blocks, sample_rate_hz)
            piece, context = piece_s * sample_rate_hz, CONTEXT_S * sample_rate_hz
            self._pieces = _cut(runs, first[0], sample_rate_hz, piece, context)

    def close(self) -> None:
        """Ends what still runs; no more pieces come."""
        self._pieces = iter(())
        self._decoder.close()

    def __iter__(self) -> Iterator[SoundPiece]:
        return self

    def __next__(self) -> SoundPiece:
        piece = next(self._pieces)
        self.end_s = piece.start_s + piece.keep_to / self._rate
        return piece

    def __enter__(self) -> SoundPieces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _blocks(self) -> Iterator[Block]:
        for stamp in self._decoder.stamps():
            data = self._decoder.data[0].read(stamp.size)
            if len(data) < stamp.size:
                break
            samples = np.frombuffer(data, dtype="<f4")
            yield stamp.time_s, np.clip(np.nan_to_num(samples), -1, 1)
        self.problem = self._decoder.finish()

    def _explain_silence(self) -> None:
        """No sample came: nothing is wrong where the file has no sound track."""
        if not self._decoder.kinds:
            raise MediaError(self._decoder.path, why_unreadable(self._decoder.path, self._decoder.errors))
        if "Audio" not in self._decoder.kinds:
            self.problem = None
        elif self._decoder.errors:
            self.problem = f"the sound track cannot be decoded ({self._decoder.errors[0]})"


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


def _outputs(sample_rate_hz: int) -> tuple[list[list[str]], list[str]]:
    """The samples, and the stamps of the same blocks of samples. `rematrix_maxval`: mono is the mean of the channels,
    for every sample format (else ffmpeg mixes float decoders' sound, AAC and MP3, 3 dB louder than PCM)."""
    sound = ["-map", "0:a:0", "-af", "aresample=rematrix_maxval=1", "-ac", "1", "-ar", str(sample_rate_hz)]
    pcm = [*sound, "-c:a", "pcm_f32le"]
    return [[*pcm, "-f", "f32le"]], pcm


def _without_gaps(first: Block, rest: Iterator[Block], rate: int) -> Iterator[Run]:
    """The track without a break: a gap in the stamps becomes silence, samples whose time has passed are dropped."""
    position = 0
    for time_s, samples in chain([first], rest):
        jump = round((time_s - first[0]) * rate) - position
        if not _JITTER_S * rate < abs(jump) < _LONGEST_GAP_S * rate:
            jump = 0
        yield from ((np.zeros(n, dtype=np.float32), False) for n in _blocks_of(max(jump, 0), _SILENCE_BLOCK_S * rate))
        samples = samples[max(-jump, 0) :]
        yield samples, True
        position += max(jump, 0) + len(samples)


def _blocks_of(total: int, size: int) -> Iterator[int]:
    while total > 0:
        yield min(size, total)
        total -= size
