"""Joins labels to frames by frame number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from affcli.labels.reader import VideoLabels
from affcli.schema import NOT_ANNOTATED

Numbers = NDArray[np.int8]


def matching_rows(wanted: NDArray[np.int64], frame: NDArray[np.int64], *, trailing: int = 0) -> NDArray[np.int64]:
    """For each wanted frame number the index of the row that has it, -1 where none; both ascending, without repeats.

    Up to `trailing` frames past the last row take the last row, whether it holds a prediction or not.
    """
    if not frame.size:
        return np.full(wanted.size, -1, np.int64)
    last = frame[-1]
    if last - frame[0] + 1 == frame.size:  # without gaps, as in nearly all tables
        found = wanted - frame[0]
        within = (wanted >= frame[0]) & (wanted <= last + trailing)
        return np.where(within, np.minimum(found, frame.size - 1), -1)
    at = np.minimum(np.searchsorted(frame, wanted), frame.size - 1)
    found = (frame[at] == wanted) | ((wanted > last) & (wanted <= last + trailing))
    return np.where(found, at, -1)


def truth_of(labels: Mapping[str, VideoLabels], video: str, frame: NDArray[np.int64]) -> Numbers | None:
    """The class numbers of a video's frames [n], -1 where nobody judged; None for a video without labels."""
    if video not in labels:
        return None
    known = labels[video].labels
    return np.where(
        frame <= known.size, np.append(known, NOT_ANNOTATED)[np.minimum(frame - 1, known.size)], NOT_ANNOTATED
    )
