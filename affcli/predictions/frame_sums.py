"""The mean of all the rows that cover a frame: what soft voting is."""

from __future__ import annotations

import numpy as np


class FrameSums:
    """Sums and counts of the numbers of each frame and class, in float64; NaN takes no part."""

    def __init__(self, classes: int, frames: int) -> None:
        self._sums = np.zeros((classes, frames))
        self._counts = np.zeros((1, frames), np.int64)  # of all classes, until a row lacks a number of one
        self.votes = np.zeros(frames, np.int64)

    def add(self, index: np.ndarray, values: np.ndarray, *, complete: bool) -> None:
        """Adds the rows of `values` [n, C] to the frames `index` [n]; `complete` says that none is NaN."""
        frames = len(self.votes)
        if complete:
            rows = np.bincount(index, minlength=frames)
            self.votes += rows
            self._counts += rows
            for total, column in zip(self._sums, values.T, strict=True):
                total += np.bincount(index, column, frames)
            return
        if len(self._counts) < len(self._sums):
            self._counts = np.repeat(self._counts, len(self._sums), axis=0)
        present = ~np.isnan(values)
        self.votes += np.bincount(index, present.any(axis=1), frames).astype(np.int64)
        for total, count, column, there in zip(self._sums, self._counts, values.T, present.T, strict=True):
            total += np.bincount(index[there], column[there], frames)
            count += np.bincount(index[there], minlength=frames)

    def mean(self) -> np.ndarray:
        """Means [F, C], NaN where nothing was added. The last thing to ask for: the sums become them."""
        with np.errstate(invalid="ignore"):
            np.divide(self._sums, self._counts, out=self._sums)
        return np.transpose(self._sums)
