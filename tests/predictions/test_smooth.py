"""Filters over time, against scipy where it does the same, and against brute force where it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from affcli.errors import AffcliError, UsageError
from affcli.predictions import smooth
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.smooth import Filter
from affcli.schema import FRAMES, metadata_of

ODD = st.integers(0, 12).map(lambda half: 2 * half + 1)


@st.composite
def series(draw: st.DrawFn, *, classes: int = 3) -> np.ndarray:
    """[C, n] of few different values, so that there are ties, in either float type."""
    n = draw(st.integers(1, 30))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    cells = st.lists(st.floats(-8, 8, width=16), min_size=n, max_size=n)
    return np.array([draw(cells) for _ in range(classes)], dtype)


def windows(n: int, kernel: int) -> list[np.ndarray]:
    """The places that each window looks at, the end repeated at the edges."""
    reach = kernel // 2
    return [np.clip(np.arange(i - reach, i + reach + 1), 0, n - 1) for i in range(n)]


def by_hand(values: np.ndarray, kernel: int, seen: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Median (or weighted mean) of what each window sees; the own value where it sees nothing."""
    result = values.astype(np.float64)
    for row, mask, out in zip(values.astype(np.float64), seen, result, strict=True):
        for i, places in enumerate(windows(values.shape[1], kernel)):
            visible = mask[places]
            if visible.any() and weights is None:
                out[i] = np.median(row[places][visible])
            elif visible.any():
                out[i] = np.average(row[places][visible], weights=weights[visible])
    return result


@given(values=series(), kernel=ODD)
@settings(deadline=None)
def test_median_equals_scipy_exactly(values: np.ndarray, kernel: int) -> None:
    found = smooth.median(values, kernel, np.ones_like(values, bool))
    assert found.dtype == values.dtype
    # In two dimensions: scipy 1.15 and 1.16 are wrong, or crash, in one where the kernel is longer than the array.
    assert np.array_equal(found, ndimage.median_filter(values, size=(1, kernel), mode="nearest"))


@pytest.mark.parametrize("kernel", [1, 3, 11, 101, 501, 1001])
@pytest.mark.parametrize("frames", [1, 2, 7, 100, 1500])
def test_every_method_equals_scipy_for_kernels_longer_and_shorter_than_the_video(kernel: int, frames: int) -> None:
    values = np.random.default_rng(kernel).normal(size=(8, frames))
    seen = np.ones_like(values, bool)
    size = (1, kernel)
    assert np.array_equal(smooth.median(values, kernel, seen), ndimage.median_filter(values, size, mode="nearest"))
    mean = ndimage.uniform_filter(values, size, mode="nearest")
    np.testing.assert_allclose(smooth.mean(values, kernel, seen), mean, atol=1e-12)
    gaussian = ndimage.gaussian_filter1d(values, kernel / 6, axis=1, mode="nearest", radius=kernel // 2)
    np.testing.assert_allclose(smooth.gaussian(values, kernel, seen), gaussian, atol=1e-12)


@given(values=series(), kernel=ODD, seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
@settings(deadline=None, max_examples=200)
def test_what_is_not_seen_is_left_out_of_every_window(values: np.ndarray, kernel: int, seed: int, share: float) -> None:
    seen = np.random.default_rng(seed).random(values.shape) >= share
    values = np.where(seen, values, values.dtype.type(np.nan))  # whatever stands there must not matter
    own = np.nan_to_num(values, nan=5.0)
    expected = by_hand(own, kernel, seen)
    assert np.array_equal(smooth.median(own, kernel, seen).astype(np.float32), expected.astype(np.float32))
    flat = by_hand(own, kernel, seen, weights=np.ones(kernel))
    np.testing.assert_allclose(smooth.mean(own, kernel, seen), flat, atol=1e-9)
    bell = np.exp(-0.5 * (np.arange(-(kernel // 2), kernel // 2 + 1) / (kernel / 6)) ** 2)
    np.testing.assert_allclose(smooth.gaussian(own, kernel, seen), by_hand(own, kernel, seen, weights=bell), atol=1e-9)


def test_an_even_count_takes_the_mean_of_the_two_middle_values() -> None:
    values = np.array([[1.0, 100.0, 4.0, 2.0, 3.0]], np.float32)
    seen = np.array([[True, False, True, True, True]])
    assert smooth.median(values, 5, seen).tolist() == [[1, 1.5, 2.5, 3, 3]]


def test_the_repeats_of_an_end_that_is_not_seen_are_not_seen_either() -> None:
    values, seen = np.array([[9.0, 1.0, 2.0]]), np.array([[False, True, True]])
    assert smooth.median(values, 3, seen).tolist() == [[1, 1.5, 2]]


def test_infinite_logits_are_ordinary_values_of_a_median() -> None:
    values = np.array([[-np.inf, np.inf, 1.0, np.inf, np.inf]])
    seen = np.array([[True, True, True, False, True]])
    assert smooth.median(values, 3, np.ones_like(seen)).tolist() == [[-np.inf, 1, np.inf, np.inf, np.inf]]
    assert smooth.median(values, 3, seen)[0, 4] == np.inf


@given(st.lists(st.sampled_from([-np.inf, np.inf, -3e38, 0.5, 1.0, 2.0]), min_size=1, max_size=30), ODD, st.booleans())
@settings(deadline=None, max_examples=200)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the windows by hand
def test_infinite_and_huge_logits_count_in_their_own_windows_only(row: list[float], kernel: int, hide: bool) -> None:
    values = np.array([row])
    seen = np.arange(len(row))[None] % 3 > 0 if hide else np.ones_like(values, bool)
    bell = np.exp(-0.5 * (np.arange(-(kernel // 2), kernel // 2 + 1) / (kernel / 6)) ** 2)
    for method, weights in (("median", None), ("mean", np.ones(kernel)), ("gaussian", bell)):
        found = smooth.FILTERS[method](values, kernel, seen)
        np.testing.assert_allclose(found, by_hand(values, kernel, seen, weights), atol=1e-9, err_msg=method)


def mode_by_hand(own: np.ndarray, kernel: int, seen: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    shares, winners = np.full((classes, len(own)), np.nan), np.full(len(own), -1)
    for i, places in enumerate(windows(len(own), kernel)):
        visible = own[places][seen[places]]
        if not len(visible):
            if own[i] < 0:
                continue
            visible = own[i : i + 1]
        counts = np.bincount(visible, minlength=classes)
        best = np.flatnonzero(counts == counts.max())
        winners[i] = own[i] if own[i] in best else best[0]
        shares[:, i] = counts / counts.sum()
    return shares, winners


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=25), ODD, st.integers(0, 99))
@settings(deadline=None, max_examples=200)
def test_mode_equals_brute_force(labels: list[int], kernel: int, seed: int) -> None:
    own = np.array(labels)
    seen = (own >= 0) & (np.random.default_rng(seed).random(len(own)) > 0.3)
    shares, winner = smooth.mode(own, kernel, seen, 4, known=own >= 0)
    expected_shares, expected = mode_by_hand(own, kernel, seen, 4)
    assert winner.tolist() == expected.tolist()
    np.testing.assert_array_equal(shares, expected_shares)


def test_mode_ties_keep_the_own_label_else_take_the_lowest_class() -> None:
    own = np.array([2, 1, 1, 2, 0])
    _, winner = smooth.mode(own, 5, np.ones(5, bool), 3, known=np.ones(5, bool))
    assert winner.tolist() == [2, 2, 1, 0, 0]  # 2 2 2 1 1 | 2 2 1 1 2 | 2 1 1 2 0, a tie | 1 1 2 0 0 | 1 2 0 0 0
    _, winner = smooth.mode(np.array([1, 0, 2, 1, 2]), 5, np.ones(5, bool), 3, known=np.ones(5, bool))
    assert winner[1] == 1


@pytest.mark.parametrize("kernel", [0, 2, 10, -1, 1003])
def test_even_and_too_long_kernels_are_refused(kernel: int) -> None:
    with pytest.raises(UsageError, match="odd"):
        Filter(kernel)


# --- whole tables ----------------------------------------------------------------------------------------------------


def write(file: Path, **columns: object) -> str:
    pq.write_table(pa.table(columns), file)
    return str(file)


def smoothed(source: str, kernel: int = 3, **options: object) -> pa.Table:
    with LogitTable(source) as table:
        filtered = smooth.Smooth(table, Filter(kernel, **options))  # type: ignore[arg-type]
        return pa.concat_tables([rows.cast(filtered.schema) for rows in filtered.frames()])


def test_windows_never_reach_across_a_videos_border(tmp_path: Path) -> None:
    logits = {"A": [0.0, 0, 9, 9], "B": [1.0, 1, 1, 1]}
    table = write(tmp_path / "t.parquet", video=["x", "x", "y", "y"], frame=[1, 2, 1, 2], **logits)
    assert smoothed(table, 5)["A"].to_pylist() == [0, 0, 9, 9]


def test_the_label_is_that_of_the_smoothed_logits(tmp_path: Path) -> None:
    logits = {"A": [1.0, 0, 1], "B": [0.0, 1, 0]}
    table = write(tmp_path / "t.parquet", video=["x"] * 3, frame=[1, 2, 3], **logits, label=["B", "B", "B"])
    assert smoothed(table)["label"].to_pylist() == ["A", "A", "A"]


def test_null_logits_stay_null_unless_missing_ones_are_excluded(tmp_path: Path) -> None:
    logits = {"A": [1.0, None, 3, None], "B": [0.0, None, 0, np.nan]}
    table = write(tmp_path / "t.parquet", video=["x"] * 4, frame=[1, 2, 3, 4], **logits)
    kept, filled = smoothed(table), smoothed(table, exclude_faceless=True)
    assert kept["A"].to_pylist() == [1, None, 3, None]
    assert kept["label"].to_pylist() == ["A", None, "A", None]
    assert filled["A"].to_pylist() == [1, 2, 3, 3]
    assert filled["label"].to_pylist() == ["A"] * 4


@pytest.mark.parametrize("method", smooth.METHODS)
def test_frames_without_a_face_take_their_value_from_their_neighbours(tmp_path: Path, method: str) -> None:
    logits = {"A": [1.0, 0, 1, 0], "B": [0.0, 7, 0, 7]}
    face = [True, False, True, False]
    table = write(tmp_path / "t.parquet", video=["x"] * 4, frame=[1, 2, 3, 4], **logits, face=face)
    result = smoothed(table, method=method, exclude_faceless=True)
    assert result["A"].to_pylist() == [1, 1, 1, 1]
    assert result["B"].to_pylist() == [0, 0, 0, 0]
    assert result["label"].to_pylist() == ["A"] * 4


def test_a_frame_whose_face_is_unknown_has_none(tmp_path: Path) -> None:
    logits = {"A": [1.0, 5, 9], "B": [0.0, 0, 0]}
    table = write(tmp_path / "t.parquet", video=["x"] * 3, frame=[1, 2, 3], **logits, face=[None, True, False])
    assert smoothed(table, exclude_faceless=True)["A"].to_pylist() == [5, 5, 5]


def test_a_column_face_of_other_things_is_named(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", video=["x"], frame=[1], A=[1.0], B=[0.0], face=["maybe"])
    with pytest.raises(AffcliError, match=r"t\.parquet: column 'face' holds 'maybe', not true or false"):
        smoothed(table, exclude_faceless=True)


@pytest.mark.parametrize("method", ["median", "mean", "gaussian"])
def test_a_window_without_any_face_leaves_the_frames_own_value(tmp_path: Path, method: str) -> None:
    logits = {"A": [1.0, 2, 3], "B": [0.0, 7, 0]}
    table = write(tmp_path / "t.parquet", video=["x"] * 3, frame=[1, 2, 3], **logits, face=[False] * 3)
    assert smoothed(table, method=method, exclude_faceless=True)["A"].to_pylist() == [1, 2, 3]


def test_mode_writes_the_shares_of_the_window(tmp_path: Path) -> None:
    logits = {"A": [1.0, 0, 1, 0], "B": [0.0, 7, 0, 7]}
    table = write(tmp_path / "t.parquet", video=["x"] * 4, frame=[1, 2, 3, 4], **logits)
    result = smoothed(table, 3, method="mode")
    assert result["A"].to_pylist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 3])
    assert result["label"].to_pylist() == ["A", "A", "B", "B"]


def test_infinite_logits_are_ordinary_values_of_the_mode(tmp_path: Path) -> None:
    logits = {"A": [-np.inf, np.inf, 1.0, 1.0], "B": [0.0, 7, np.inf, -np.inf]}
    table = write(tmp_path / "t.parquet", video=["x"] * 4, frame=[1, 2, 3, 4], **logits)
    result = smoothed(table, 1, method="mode")
    assert result["label"].to_pylist() == ["B", "A", "B", "A"]
    assert result["A"].to_pylist() == [0, 1, 0, 1]


def test_labels_alone_get_the_most_frequent_one(tmp_path: Path) -> None:
    labels = ["Anger", "Neutral", "Anger", None, "Fear", "Disgust"]
    table = write(tmp_path / "t.parquet", video=["x"] * 6, frame=range(1, 7), label=labels)
    assert smoothed(table)["label"].to_pylist() == ["Anger", "Anger", "Anger", None, "Fear", "Disgust"]
    filled = smoothed(table, exclude_faceless=True)["label"].to_pylist()
    assert filled == ["Anger", "Anger", "Anger", "Anger", "Fear", "Disgust"]
    with pytest.raises(UsageError, match=r"only labels.*--method mode"):
        smoothed(table, method="median")


def test_words_for_one_class_are_votes_for_one_class_and_labels_that_stay_keep_their_word(tmp_path: Path) -> None:
    labels = ["Happy", "happiness", "joy", "Sad", "Sad", "other", "contempt"]
    table = write(tmp_path / "t.parquet", video=["x"] * 7, frame=range(1, 8), label=labels)
    found = smoothed(table, kernel=5)["label"].to_pylist()
    assert found[:5] == ["Happy", "happiness", "joy", "Sad", "Sad"]
    assert found[5:] == [
        "Sad",
        "contempt",
    ]  # contempt and other are apart: 2 Sad, 1 other, 2 contempt
    table = write(tmp_path / "u.parquet", video=["x"] * 3, frame=[1, 2, 3], label=["joy", "Sad", "HAPPY"])
    assert smoothed(table, kernel=3)["label"].to_pylist() == ["joy", "HAPPY", "HAPPY"]


def test_two_rows_for_one_frame_are_an_error_that_names_vote(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", video=["x"] * 3, frame=[2, 1, 2], A=[1.0] * 3, B=[1.0] * 3)
    with pytest.raises(AffcliError, match=r"video 'x', frame 2: run `affcli vote` first"):
        smoothed(table)


def test_other_columns_are_carried_through(tmp_path: Path) -> None:
    table = write(
        tmp_path / "t.parquet",
        video=["x"] * 2,
        frame=[2, 1],
        A=[1.0, 0],
        B=[0.0, 1],
        time_s=[0.1, 0.0],
        clip=["late", "early"],
        tags=[["t"], []],
    )
    result = smoothed(table, 1)
    assert result.column_names == ["video", "frame", "time_s", "clip", "tags", "A", "B", "label"]
    assert result["clip"].to_pylist() == ["early", "late"]
    assert result["tags"].to_pylist() == [[], ["t"]]
    assert result["time_s"].to_pylist() == [0.0, 0.1]


def test_gaps_in_the_frame_numbers_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write(tmp_path / "t.parquet", video=["x"] * 4, frame=[1, 3, 4, 9], A=[1.0] * 4, B=[1.0] * 4)
    smoothed(table)
    assert "2 gaps in 1 video;" in caplog.text


def test_what_was_done_stands_in_the_metadata(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", video=["x"], frame=[1], A=[1.0], B=[0.0])
    first = smoothed(table, 3)
    pq.write_table(first, tmp_path / "u.parquet")
    second = metadata_of(smoothed(str(tmp_path / "u.parquet"), 5, method="mean").schema)
    assert second["kind"] == FRAMES
    assert [(step["method"], step["kernel"]) for step in second["smoothed"]] == [("median", 3), ("mean", 5)]
