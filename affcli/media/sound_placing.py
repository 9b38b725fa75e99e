"""Blocks of samples → one track without a break → pieces of it, however the blocks come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from affcli.media.sound_source import Block, Samples

# Stamps that are off by less are jitter (of containers that count milliseconds, of recorders) and move nothing; more
# than that, which is less than a frame at 30 frames/s, moves what follows.
_JITTER_S: Final = Fraction(20, 1000)
_LONGEST_GAP_S: Final = 24 * 3600  # beyond that a stamp is broken
_SILENCE_BLOCK_S: Final = 10

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


def cut(runs: Iterator[Run], first_s: Fraction, rate: int, piece: int, context: int) -> Iterator[SoundPiece]:
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


class Placed:
    """Puts blocks where their times say, as one track without a break.

    A gap in the times becomes silence; samples whose time has passed are dropped. Where the container gives sound no
    times but its order (`continuous`: AVI), each block follows the one before. `position` is how many samples the track
    has so far, `dropped` how many had no place in it.
    """

    def __init__(self, rate: int, *, continuous: bool = False) -> None:
        self._rate, self._continuous = rate, continuous
        self.position = self.dropped = 0

    def runs(self, blocks: Iterator[Block]) -> Iterator[Run]:
        """The blocks, and the silence between them."""
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
