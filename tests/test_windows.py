"""Windows cover every frame, the last one flush with the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affcli.models.windows import window_rows, window_starts


@pytest.mark.parametrize(
    ("frames", "starts"),
    [(1, [0]), (63, [0]), (64, [0]), (65, [0, 1]), (72, [0, 8]), (75, [0, 8, 11]), (80, [0, 8, 16])],
)
def test_windows_of_64_with_stride_8(frames: int, starts: list[int]) -> None:
    assert window_starts(frames, 64, 8).tolist() == starts


@given(frames=st.integers(1, 500), window=st.integers(1, 80), stride=st.integers(1, 20))
def test_every_frame_is_covered_and_padding_is_marked(frames: int, window: int, stride: int) -> None:
    starts = window_starts(frames, window, min(stride, window))
    rows, exists = window_rows(starts, window, frames)
    assert set(rows[exists].tolist()) == set(range(frames))
    assert rows.max() < frames
    assert exists.sum(axis=1).tolist() == [min(window, frames)] * len(starts)
    assert np.all(np.diff(starts) > 0)
