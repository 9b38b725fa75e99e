"""The rows of one video, and what is done to their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from affcli.errors import AffcliError, RepeatedFrameError

LONGEST_SPREAD: Final = 100_000_000  # frames of one video: 38 days at 30 fps


@dataclass(frozen=True)
class VideoRows:
    """One video's rows, ascending by frame; rows of one frame keep the order of the file.

    `frame` int64 [n], 1-based, may repeat (windowed logits); `logits` float32 or float64 [n, C], NaN where missing;
    `carried` the other columns [n]; `end` int64 [n], the last frame of each span, or None for rows of single frames;
    `missing` how many logits are NaN.
    """

    video: str
    frame: np.ndarray
    logits: np.ndarray
    carried: pa.Table
    end: np.ndarray | None = None
    missing: int = 0


def spread_over_frames(rows: VideoRows, source: str) -> VideoRows:
    """Spans without logits as one row for each of their frames; raises RepeatedFrameError where two overlap."""
    assert rows.end is not None
    order = np.argsort(rows.frame, kind="stable")
    start, end = rows.frame[order], rows.end[order]
    overlap = np.flatnonzero(start[1:] <= end[:-1])
    if overlap.size:
        at = int(overlap[0]) + 1
        raise RepeatedFrameError(
            f"{source}: video '{rows.video}' has spans that overlap at frame {start[at]}. Run affcli vote first."
        )
    lengths = end - start + 1
    if lengths.sum() > LONGEST_SPREAD:
        raise AffcliError(
            f"{source}: video '{rows.video}' has spans over {lengths.sum():,} frames, too many for a video."
        )
    row = np.repeat(np.arange(len(start)), lengths)
    frame = start[row] + np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    carried = rows.carried.take(pa.array(order)).take(pa.array(row))
    return VideoRows(rows.video, frame, np.empty((len(row), 0), np.float32), carried)


def sorted_by_frame(rows: VideoRows) -> VideoRows:
    """The rows in ascending order of frames."""
    if (np.diff(rows.frame) >= 0).all():
        return rows
    order = np.argsort(rows.frame, kind="stable")
    end = None if rows.end is None else rows.end[order]
    carried = rows.carried.take(pa.array(order))
    return replace(rows, frame=rows.frame[order], logits=rows.logits[order], carried=carried, end=end)


def joined(video: str, pieces: Sequence[VideoRows]) -> VideoRows:
    """One video's rows from several files, in the order of the files."""
    frame = np.concatenate([piece.frame for piece in pieces])
    logits = np.concatenate([piece.logits for piece in pieces])
    carried = pa.concat_tables([piece.carried for piece in pieces])
    ends = [piece.end for piece in pieces if piece.end is not None]
    missing = sum(piece.missing for piece in pieces)
    return VideoRows(video, frame, logits, carried, np.concatenate(ends) if ends else None, missing)
