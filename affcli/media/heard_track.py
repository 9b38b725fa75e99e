"""One sound track as it is heard: its samples brought into [−1, 1], and what a listener should know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from affcli.media.picture_track import note
from affcli.media.sound_source import ANTIPHASE, SILENT, Block, SoundSource
from affcli.media.sound_track import Hearing, is_silent, track_of

_NO_FLOAT: Final = 8  # no mixing desk gives floating-point sound so far beyond full scale
_INTEGER_SCALES: Final = (2.0**15, 2.0**23, 2.0**31)
_FULL: Final = 0.999
_CLIPPED, _MUCH = 0.01, 0.001  # shares of samples at full scale, and beyond it, that are worth a word
_WORTH_TELLING_S: Final = 0.1


class HeardTrack:
    """The blocks of one sound track as they are decoded, and what is found out about them on the way.

    `count` samples came, of which `over` were beyond full scale and `full` at it; `peak` is the largest.
    """

    def __init__(self, source: SoundSource, hearing: Hearing, rate: int) -> None:
        self.source, self.hearing, self._rate = source, hearing, rate
        self.count = self.over = self.full = 0
        self.peak, self.scale = 0.0, 1.0
        tracks = source.description.of_kind("Audio")
        found = track_of(hearing, tracks)
        self.has_floats = found is not None and found.has_floats
        self.number, self.of = int(hearing.track.rpartition(":")[2]) + 1, len(tracks)

    def blocks(self) -> Iterator[Block]:
        """Samples as they are in the file; what is no number is silence."""
        for time_s, samples in self.source.blocks():
            yield time_s, np.nan_to_num(samples, posinf=1, neginf=-1)

    def is_in_antiphase(self, first: list[Block]) -> bool:
        """Whether the first half a minute has ten times as much energy in the difference of left and right as in what
        they have in common."""
        if self.hearing.takes_one_channel:
            return False
        samples = np.concatenate([samples for _, samples in first])
        seconds = max(1, len(samples) // self._rate)
        mean = float(np.square(samples[: seconds * self._rate], dtype=np.float64).sum()) / self._rate
        side = self.source.side_energy(seconds)
        return side > ANTIPHASE * mean and side / seconds > SILENT**2

    def settle_scale(self, first: list[Block]) -> None:
        """Floating-point samples far beyond 1 were meant as integers of 16, 24 or 32 bits."""
        peak = max((float(np.abs(samples).max()) for _, samples in first if samples.size), default=0.0)
        if self.has_floats and peak > _NO_FLOAT:
            self.scale = next((scale for scale in _INTEGER_SCALES if peak <= scale), _INTEGER_SCALES[-1])
            bits = round(np.log2(self.scale)) + 1
            note(self.source.path, f"its samples are at the scale of {bits}-bit integers (up to {peak:,.0f}); scaled.")

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


def tell_heard(path: Path, track: HeardTrack, dropped_s: float) -> None:
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
