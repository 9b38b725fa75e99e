"""Feature tables made elsewhere: types of face, time and vectors, what is missing, and videos in one table only."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affcli.errors import ColumnError, UnmatchedVideosError
from affcli.features.joined import JoinedFeatures
from affcli.features.stream import FeatureTable


def table(path: Path, **columns: Any) -> FeatureTable:
    """A table of one video `v` with three frames, its columns as given."""
    rows = {"video": ["v"] * 3, "frame": [1, 2, 3], "feature": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], **columns}
    pq.write_table(pa.table(rows), path)
    return FeatureTable(str(path))


@pytest.mark.parametrize(
    "face",
    [
        [True, False, None],
        [1, 0, None],
        [1.0, 0.0, None],
        ["yes", "no", None],
        ["True", "FALSE", ""],
        ["y", "n", "0"],
        pa.array(["yes", "no", "no"]).dictionary_encode(),
    ],
)
def test_a_face_may_be_said_in_any_way(tmp_path: Path, face: Any) -> None:
    assert table(tmp_path / "t", face=face).read("v").valid.tolist() == [True, False, False]


@pytest.mark.parametrize("face", [["maybe", "yes", "no"], [2, 1, 0], [[True], [True], [True]]])
def test_another_face_is_named(tmp_path: Path, face: Any) -> None:
    with pytest.raises(ColumnError, match=r"t: column 'face' holds .*, not true or false"):
        table(tmp_path / "t", face=face).read("v")


@pytest.mark.parametrize("time", [["00:00:01"] * 3, pa.array([1, 2, 3], pa.timestamp("s")), [[0.0]] * 3])
def test_times_that_are_no_numbers_are_named(tmp_path: Path, time: Any) -> None:
    with pytest.raises(ColumnError, match=r"t: column 'time_s' holds .*; times must be numbers, in seconds"):
        table(tmp_path / "t", time_s=time)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.list_(pa.float64()),
        pa.list_(pa.float64(), 2),
        pa.large_list(pa.float32()),
        pa.list_(pa.uint8(), 2),
    ],
)
def test_vectors_of_any_numbers_are_taken(tmp_path: Path, kind: pa.DataType) -> None:
    found = table(tmp_path / "t", feature=pa.array([[1, 2], None, [5, 6]], kind)).read("v")
    assert found.features.tolist() == [[1, 2], [0, 0], [5, 6]]
    assert found.valid.tolist() == [True, False, True]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.string()])
def test_vectors_of_something_else_are_named(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array([["a"]] * 3 if pa.types.is_list(kind) else ["a"] * 3, kind)
    with pytest.raises(ColumnError, match=r"column 'feature' holds .*, not lists of numbers"):
        table(tmp_path / "t", feature=values)


def test_frames_whose_vector_is_not_all_numbers_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = table(tmp_path / "t", feature=[[1.0, np.nan], [3.0, None], None])
    with JoinedFeatures(whole, None, sizes=(2, 2)) as joined, caplog.at_level(logging.WARNING):
        assert not joined.read("v").visual.valid.any()
        joined.note_incomplete()
    assert "t: 2 of 2 frames have a feature that holds a null, NaN or infinity" in caplog.text


def test_a_frame_far_beyond_the_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="video 'v' has 3 rows and a frame 2147483647, too large"):
        table(tmp_path / "t", frame=[1, 2, 2**31 - 1])


# --- videos in one table only ----------------------------------------------------------------------------------------


def joined(tmp_path: Path, visual: list[str], audio: list[str]) -> JoinedFeatures:
    tables = []
    for name, videos in (("V", visual), ("A", audio)):
        rows = {"video": videos, "frame": [1] * len(videos), "feature": [[1.0, 2.0]] * len(videos)}
        pq.write_table(pa.table(rows), tmp_path / name)
        tables.append(FeatureTable(str(tmp_path / name)))
    return JoinedFeatures(*tables, sizes=(2, 2))


def test_videos_in_one_table_only_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with joined(tmp_path, ["a", "b_left", "c"], ["a", "b", "d", "e"]) as both, caplog.at_level(logging.WARNING):
        both.check_matches(allow_unmatched=False)
    assert f"{tmp_path}/A: has no rows of 1 video that {tmp_path}/V has: c" in caplog.text
    assert f"{tmp_path}/V: has no rows of 2 videos that {tmp_path}/A has: d, e" in caplog.text


def test_tables_that_share_no_video_are_refused_unless_they_may(tmp_path: Path) -> None:
    with joined(tmp_path, ["a.mp4"], ["a"]) as both:
        with pytest.raises(UnmatchedVideosError, match=r"no video in common \(visual: a\.mp4; audio: a\)"):
            both.check_matches(allow_unmatched=False)
        both.check_matches(allow_unmatched=True)
