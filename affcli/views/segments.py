"""Runs of frames with one label: what captions, annotation tiers, timelines and pages are made of. Numpy only.

A segment is a run of consecutive frames with the same label. Frames without a label belong to none, and a jump in the
frame numbers ends one: nothing is said of what nobody saw. It is shown from its first frame until the frame after it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.views.labelled_video import NO_LABEL, LabelledVideo

_TICKS: Final = 1_000_000  # a second's; lengths are compared in whole microseconds, as times are known

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Segments:
    """One video's segments, in order: rows `first` to `last` (both included) of the video carry `label`.

    All int64 [m]; `label` is an index into the video's classes.
    """

    first: Numbers
    last: Numbers
    label: Numbers

    def __len__(self) -> int:
        return len(self.label)


def segments_of(video: LabelledVideo, *, min_seconds: float = 0) -> Segments:
    """The video's segments; those shorter than `min_seconds` (which needs its times) join a neighbour, see `joined`."""
    found = runs(video.label, np.diff(video.frame) != 1)
    found = Segments(*(part[found.label != NO_LABEL] for part in (found.first, found.last, found.label)))
    if min_seconds <= 0 or not len(found):
        return found
    assert video.start_s is not None
    assert video.end_s is not None
    touching = video.frame[found.first[1:]] - video.frame[found.last[:-1]] == 1
    return joined(found, video.start_s[found.first], video.end_s[found.last], touching, min_seconds)


def runs(label: NDArray[np.int_], breaks: NDArray[np.bool_] | None = None) -> Segments:
    """Runs of equal values in `label` [n], -1 too; a run also ends at the borders between rows in `breaks` [n - 1]."""
    if not label.size:
        return Segments(*(np.empty(0, np.int64) for _ in range(3)))
    border = np.diff(label) != 0
    if breaks is not None:
        border |= breaks
    first = np.concatenate([[0], np.flatnonzero(border) + 1])
    last = np.append(first[1:], label.size) - 1
    return Segments(first, last, np.asarray(label[first], np.int64))


def gaps_of(video: LabelledVideo, there: NDArray[np.bool_]) -> Segments:
    """The stretches where something (face, sound) is not there, as segments of label 0."""
    found = runs(there.astype(np.int64), np.diff(video.frame) != 1)
    return Segments(*(part[found.label == 0] for part in (found.first, found.last, found.label)))


def joined(
    segments: Segments, start_s: Floats, end_s: Floats, touching: NDArray[np.bool_], min_seconds: float
) -> Segments:
    """No segment shorter than `min_seconds`, but for those without a neighbour to join.

    The rule: the shortest segment, the first of equals, joins the longer of its two neighbours, the earlier of equals,
    and takes its label; neighbours that have the same label then are one. So on until none is too short. A neighbour
    is a segment without a frame in between: `touching` [m - 1]. `start_s`, `end_s` [m] are seconds.
    """
    chain = _Chain(segments.label.tolist(), start_s.tolist(), end_s.tolist(), touching.tolist())
    chain.shorten(round(min_seconds * _TICKS))
    kept = np.array(chain.heads(), np.int64)
    stop = np.append(kept[1:], len(segments))
    return Segments(segments.first[kept], segments.last[stop - 1], np.array(chain.label, np.int64)[kept])


class _Chain:
    """Segments that merge; the merged ones are named by their first. `end_s` and the neighbours are those of now."""

    def __init__(self, label: list[int], start_s: list[float], end_s: list[float], touching: list[bool]) -> None:
        self.label, self._start_s, self._end_s = label, start_s, end_s
        count = len(label)
        self._touching = [*touching, False]  # whether a segment touches the next; of a merged one, its last part
        self._next = list(range(1, count + 1))
        self._before = list(range(-1, count - 1))
        self._gone = [False] * count

    def heads(self) -> list[int]:
        """The segments that are left, in order."""
        return [index for index, gone in enumerate(self._gone) if not gone]

    def shorten(self, least: int) -> None:
        waiting = [(self._length(i), i) for i in range(len(self.label)) if self._length(i) < least]
        heapq.heapify(waiting)
        while waiting:
            length, at = heapq.heappop(waiting)
            if self._gone[at] or length != self._length(at):
                continue  # it has merged since, and is waiting with its new length where that is too short
            merged = self._join_a_neighbour(at)
            if merged is not None and self._length(merged) < least:
                heapq.heappush(waiting, (self._length(merged), merged))

    def _length(self, at: int) -> int:
        return round((self._end_s[at] - self._start_s[at]) * _TICKS)

    def _join_a_neighbour(self, at: int) -> int | None:
        """The segment that it has become; None where it touches none."""
        before = self._before[at] if self._before[at] >= 0 and self._touching[self._before[at]] else None
        after = self._next[at] if self._touching[at] else None
        sides = [side for side in (before, after) if side is not None]
        if not sides:
            return None
        self.label[at] = self.label[max(sides, key=self._length)]
        if after is not None and self.label[after] == self.label[at]:
            self._absorb(at, after)
        if before is not None and self.label[before] == self.label[at]:
            self._absorb(before, at)
            return before
        return at

    def _absorb(self, at: int, after: int) -> None:
        self._gone[after] = True
        self._end_s[at] = self._end_s[after]
        self._touching[at] = self._touching[after]
        self._next[at] = self._next[after]
        if self._next[at] < len(self.label):
            self._before[self._next[at]] = at


def confidences(video: LabelledVideo, segments: Segments) -> Floats:
    """The mean probability of each segment's label over its frames [m]; NaN where the table has no probabilities."""
    if video.probability is None:
        return np.full(len(segments), np.nan)
    sizes = segments.last - segments.first + 1
    row = np.repeat(segments.first - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes) + np.arange(sizes.sum())
    own = video.probability[row, np.repeat(segments.label, sizes)]
    known = ~np.isnan(own)
    of = np.repeat(np.arange(len(segments)), sizes)
    total = np.bincount(of[known], own[known], len(segments))
    count = np.bincount(of[known], minlength=len(segments))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
