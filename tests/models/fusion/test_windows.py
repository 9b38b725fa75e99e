"""Windows cover every frame, the last one flush with the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affcli.models.fusion.windows import Windows, window_starts


@pytest.mark.parametrize(
    ("frames", "starts"),
    [(1, [0]), (63, [0]), (64, [0]), (65, [0, 1]), (72, [0, 8]), (75, [0, 8, 11]), (80, [0, 8, 16])],
)
def test_windows_of_64_with_stride_8(frames: int, starts: list[int]) -> None:
    assert window_starts(frames, 64, 8).tolist() == starts


@given(
    frames=st.lists(st.integers(1, 300), min_size=1, max_size=4), length=st.integers(1, 80), stride=st.integers(1, 20)
)
def test_every_frame_is_covered_padding_is_marked_and_no_window_crosses_videos(
    frames: list[int], length: int, stride: int
) -> None:
    offsets = np.concatenate([[0], np.cumsum(frames)])
    windows = Windows.over(offsets, length=length, stride=min(stride, length))
    rows, exists = (part.numpy() for part in windows.rows())
    assert set(rows[exists].tolist()) == set(range(offsets[-1]))
    video_of = np.searchsorted(offsets, rows, side="right")
    assert (video_of == video_of[:, :1]).all()
    counts = np.array(frames)[video_of[:, 0] - 1]
    assert exists.sum(axis=1).tolist() == np.minimum(length, counts).tolist()
    assert np.all(np.diff(windows.starts.numpy()) > 0)
