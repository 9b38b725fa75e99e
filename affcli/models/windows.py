"""Sliding windows over a video's frames: where they start, and which rows they hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def window_starts(frames: int, window: int, stride: int) -> NDArray[np.int64]:
    """Row at which each window starts: every `stride` rows, the last one flush with the end so that all are covered.

    A video no longer than one window has one, which begins at its first row and is padded.
    """
    last = max(0, frames - window)
    starts = np.arange(0, last + 1, stride)
    return starts if starts[-1] == last else np.append(starts, last)


def window_rows(starts: NDArray[np.int64], window: int, frames: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row numbers [windows, window] and which of them exist; rows past the end repeat the last one and are padding."""
    rows = starts[:, None] + np.arange(window)
    return np.minimum(rows, frames - 1), rows < frames
