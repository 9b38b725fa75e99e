"""One stream of one input as its finished work holds it: features in the way a table of them gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.features.stream import StreamFeatures, finite, no_features
from affcli.jobs.stream_part import Part
from affcli.schema import STARTS


class PartFeatures:
    """A `Stream` of the videos that one input has given; rows are complete and in order, as extractors write them."""

    encoder: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = {}

    def __init__(self, name: str, part: Part, size: int) -> None:
        self.name, self.size, self.problem = name, size, part.problem
        self.starts_s = float(part.facts.get(STARTS, 0.0))  # when players show what has `time_s` 0
        self._part = part

    @cached_property
    def videos(self) -> list[str]:
        """The video ids that the input gave, in codepoint order."""
        return sorted(self._part.videos)

    def __contains__(self, video: str) -> bool:
        return video in self.videos

    def frames(self, video: str) -> int:
        """How many frames a video has."""
        return self._part.rows(video)

    def read(self, video: str) -> StreamFeatures:
        """Every frame of one video."""
        stream = no_features(self.frames(video), self.size)
        first = 0
        for rows in self._part.tables(video, ["time_s", "feature"]):
            span = slice(first, first + rows.num_rows)
            there, numbers = self._features(rows["feature"].combine_chunks())
            stream.features[span][there] = numbers
            stream.valid[span] = there
            stream.time_s[span] = _times(rows)
            first = span.stop
        return stream

    def _features(self, column: pa.Array) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
        """[n], and the numbers of those that are there [m, size]; a feature that holds a NaN is missing."""
        there = column.is_valid().to_numpy(zero_copy_only=False)
        numbers = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, self.size)
        usable = finite(numbers)
        there[there] = usable
        return there, numbers[usable]

    def read_times(self, video: str) -> NDArray[np.float64]:
        """Presentation times [n] of a video's frames, in seconds; NaN where unknown."""
        return np.concatenate([_times(rows) for rows in self._part.tables(video, ["time_s"])])

    def read_columns(self, video: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of every frame of one video."""
        return pa.concat_tables(self._part.tables(video, columns)).combine_chunks()

    def close(self) -> None:
        """Nothing is open between reads."""


def _times(rows: pa.Table) -> NDArray[np.float64]:
    times_s: NDArray[np.float64] = pc.fill_null(rows["time_s"], np.nan).to_numpy()
    return times_s
