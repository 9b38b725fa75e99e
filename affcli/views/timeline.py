"""A video's frames reduced to as many columns as a picture has pixels: what plots and reports draw. Numpy only.

A video of fewer frames than columns keeps each frame as a column of its own, as wide as it is shown; a longer one is
cut into columns of equal width. A column shows the most frequent label of its frames, the mean and the largest of each
class's probabilities, and the share of frames with a face and with sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affcli.views.labelled_video import NO_LABEL, LabelledVideo
from affcli.views.segments import Segments, runs

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """One video in W columns: `edge` float64 [W + 1], in seconds where `timed`, else in frames (frame 1 is 0 to 1).

    `label` int64 [W], -1 for none; `mean`, `peak` float64 [C, W], NaN where nothing is known (of a table without logits
    shares of its labels); `face`, `audio` float64 [W], shares of the frames, or None where the table does not say;
    `truth` int64 [W] or None. `frames` is how many rows there are.
    """

    video: str
    classes: tuple[str, ...]
    timed: bool
    frames: int
    edge: Floats
    label: Numbers
    mean: Floats
    peak: Floats
    face: Floats | None
    audio: Floats | None
    truth: Numbers | None

    @property
    def unsure(self) -> NDArray[np.bool_]:
        """The columns without a label whose probabilities are known, bool [W]."""
        return np.asarray((self.label == NO_LABEL) & ~np.isnan(self.mean).all(axis=0))

    @property
    def length(self) -> float:
        """Seconds, or frames, from the first frame to the end of the last."""
        return float(self.edge[-1] - self.edge[0])


def timeline(video: LabelledVideo, columns: int, truth: NDArray[np.integer] | None = None) -> Timeline:
    """At most `columns` columns, one row or more; `truth` [n] are class numbers of the rows, -1 where nobody judged."""
    start, end = _shown(video)
    edge = _edges(start, end, columns)
    row, column = _rows_of_columns(start, end, edge)
    count, classes = len(edge) - 1, len(video.classes)
    values = _values(video)
    return Timeline(
        video.video,
        video.classes,
        video.start_s is not None,
        len(video.frame),
        edge,
        _most_frequent(video.label[row], column, count, classes),
        _means(values[row], column, count),
        _peaks(values[row], column, count),
        None if video.face is None else _means(video.face[row, None].astype(np.float64), column, count)[0],
        None if video.audio is None else _means(video.audio[row, None].astype(np.float64), column, count)[0],
        None if truth is None else _most_frequent(truth[row].astype(np.int64), column, count, int(truth.max()) + 1),
    )


def bands(edge: Floats, value: Numbers) -> list[tuple[float, float, int]]:
    """Neighbouring columns of one value: (from, to, value), without those of -1."""
    found: Segments = runs(value)
    kept = found.label != NO_LABEL
    parts = (edge[found.first[kept]], edge[found.last[kept] + 1], found.label[kept])
    return list(zip(*(part.tolist() for part in parts), strict=True))


def gap_bands(edge: Floats, share: Floats) -> list[tuple[float, float]]:
    """Where less than half of the frames have it (a face, sound): (from, to). Where no frame is, nothing is missing."""
    missing = np.where(share < 0.5, 0, NO_LABEL)
    return [(start, end) for start, end, _ in bands(edge, missing)]


def _shown(video: LabelledVideo) -> tuple[Floats, Floats]:
    if video.start_s is not None and video.end_s is not None:
        return np.round(video.start_s, 6), np.round(video.end_s, 6)  # so that an end is the next start
    end = video.frame.astype(np.float64)
    return end - 1, end


def _edges(start: Floats, end: Floats, columns: int) -> Floats:
    exact = np.unique(np.concatenate([start, end]))
    if len(exact) - 1 <= columns:
        return exact
    even: Floats = np.linspace(start[0], end[-1], columns + 1)
    return even


def _rows_of_columns(start: Floats, end: Floats, edge: Floats) -> tuple[Numbers, Numbers]:
    """Which rows are in which columns, ascending by column: each where it begins; a column in which none begins shows
    the one that is still on.
    """
    count = len(edge) - 1
    column = np.clip(np.searchsorted(edge, start, side="right") - 1, 0, count - 1)
    empty = np.setdiff1d(np.arange(count), column)
    middle = (edge[empty] + edge[empty + 1]) / 2
    still = np.searchsorted(start, middle, side="right") - 1
    on = (still >= 0) & (end[still] > middle)
    rows = np.concatenate([np.arange(len(start)), still[on]])
    columns = np.concatenate([column, empty[on]])
    order = np.argsort(columns, kind="stable")
    return rows[order], columns[order]


def _values(video: LabelledVideo) -> Floats:
    """The probabilities [n, C]; where there are only labels, 1 for a frame's own class."""
    if video.probability is not None:
        return video.probability
    own: Floats = (video.label[:, None] == np.arange(len(video.classes))).astype(np.float64)
    own[video.label == NO_LABEL] = np.nan
    return own


def _most_frequent(label: Numbers, column: Numbers, count: int, classes: int) -> Numbers:
    """Of equally frequent ones the first; none (-1) only where no label is as frequent."""
    kinds = classes + 1
    place = np.where(label == NO_LABEL, classes, label)
    frequency: Numbers = np.bincount(column * kinds + place, minlength=count * kinds).reshape(count, kinds)
    winner = np.argmax(frequency, axis=1)
    found: Numbers = np.where((winner == classes) | (frequency.sum(axis=1) == 0), NO_LABEL, winner)
    return found


def _means(values: Floats, column: Numbers, count: int) -> Floats:
    """[K, W] of values [m, K]; NaN takes no part."""
    known = ~np.isnan(values)
    sizes = np.stack([np.bincount(column[there], minlength=count) for there in known.T])
    sums = np.stack([np.bincount(column[there], v[there], count) for v, there in zip(values.T, known.T, strict=True)])
    means: Floats = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)
    return means


def _peaks(values: Floats, column: Numbers, count: int) -> Floats:
    peaks = np.full((values.shape[1], count), np.nan)
    first = np.flatnonzero(np.diff(column, prepend=-1))
    peaks[:, column[first]] = np.fmax.reduceat(values, first, axis=0).T
    return peaks
