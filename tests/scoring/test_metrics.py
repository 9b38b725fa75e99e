"""Accuracy, F1 and their intervals, against scikit-learn and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from affcli.scoring import metrics
from affcli.scoring.metrics import Tally, confusion, resampled_figures, score

pairs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60)


def tally(*videos: tuple[list[int], list[int]]) -> Tally:
    """One (truth, predicted) a video."""
    matrices = np.stack([confusion(np.array(truth), np.array(predicted)) for truth, predicted in videos])
    names = tuple(f"v{i}" for i in range(len(videos)))
    return Tally(names, matrices, int(matrices.sum()))


@settings(deadline=None)
@given(pairs)
def test_score_equals_scikit_learn_over_all_eight_classes(frames):
    truth, predicted = (list(column) for column in zip(*frames, strict=True))
    found = score(tally((truth, predicted)), bootstrap=0)
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)
    expected = f1_score(truth, predicted, labels=range(8), average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(expected, abs=1e-12)
    columns = precision_recall_fscore_support(truth, predicted, labels=range(8), zero_division=0)
    rows = [(one.precision, one.recall, one.f1, one.support) for one in found.per_class]
    np.testing.assert_allclose(rows, np.transpose(columns), atol=1e-12)
    assert (found.confusion == confusion_matrix(truth, predicted, labels=range(8))).all()


@settings(deadline=None)
@given(st.lists(pairs, min_size=1, max_size=6))
def test_frames_of_all_videos_are_pooled_and_each_video_stands_by_itself(videos):
    split = [tuple(list(column) for column in zip(*frames, strict=True)) for frames in videos]
    found = score(tally(*split), bootstrap=0)
    truth, predicted = ([number for video in split for number in video[i]] for i in range(2))
    assert found.macro_f1 == pytest.approx(
        f1_score(truth, predicted, labels=range(8), average="macro", zero_division=0)
    )
    for one, (own_truth, own_predicted) in zip(found.per_video, split, strict=True):
        assert one.frames == len(own_truth)
        assert one.accuracy == pytest.approx(accuracy_score(own_truth, own_predicted))
        expected = f1_score(own_truth, own_predicted, labels=range(8), average="macro", zero_division=0)
        assert one.macro_f1 == pytest.approx(expected)


def test_an_absent_class_counts_zero():
    found = score(tally(([0, 1, 2], [0, 1, 2])), bootstrap=0)
    assert found.macro_f1 == 3 / 8
    assert found.accuracy == 1
    assert found.classes_present == 3


def test_rows_of_the_confusion_are_the_truth():
    assert score(tally(([3], [5])), bootstrap=0).confusion[3, 5] == 1


# --- intervals -------------------------------------------------------------------------------------------------------


def some_videos(count: int = 9, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, (count, 8, 8))


def test_resampling_draws_whole_videos_as_a_plain_loop_does():
    confusions = some_videos()
    found = resampled_figures(confusions[None], times=40, seed=7)[0]
    draws = np.random.default_rng(7).integers(0, 9, (40, 9))
    for (accuracy, macro_f1), drawn in zip(found, draws, strict=True):
        pooled = sum(confusions[video] for video in drawn)
        truth, predicted = (np.repeat(index.ravel(), pooled.ravel()) for index in np.indices((8, 8)))
        assert accuracy == pytest.approx(accuracy_score(truth, predicted))
        assert macro_f1 == pytest.approx(f1_score(truth, predicted, labels=range(8), average="macro", zero_division=0))


def test_an_interval_is_the_middle_95_percent():
    counted = Tally(tuple("abcdefghi"), some_videos(), 0)
    figures = resampled_figures(counted.confusions[None], times=200, seed=1)[0]
    found = score(counted, bootstrap=200, seed=1)
    for column, interval in enumerate([found.accuracy_ci, found.macro_f1_ci]):
        expected = np.percentile(figures[:, column], [2.5, 97.5])
        assert [interval.low, interval.high] == pytest.approx(expected, abs=1e-12)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    counted = Tally(tuple("abcdefghi"), some_videos(), 0)
    one, again, other = (score(counted, bootstrap=100, seed=seed).macro_f1_ci for seed in (0, 0, 1))
    assert one == again != other


def test_the_size_of_the_blocks_leaves_no_trace(monkeypatch):
    confusions = some_videos()[None]
    whole = resampled_figures(confusions, times=50, seed=0)
    monkeypatch.setattr(metrics, "_DRAWS_AT_ONCE", 9 * 7)
    assert (resampled_figures(confusions, times=50, seed=0) == whole).all()


def test_videos_are_resampled_together_so_a_table_does_not_differ_from_itself():
    confusions = some_videos()
    first, second = resampled_figures(np.stack([confusions, confusions]), times=50, seed=0)
    assert (first == second).all()


def test_a_video_that_one_table_lacks_is_drawn_with_no_frames():
    confusions = some_videos(4)
    whole = Tally(("a", "b", "c", "d"), confusions, 0)
    part = Tally(("b", "d"), confusions[[1, 3]], 0)
    lacking = Tally(("a", "b", "c", "d"), confusions * np.array([0, 1, 0, 1])[:, None, None], 0)
    found, expected = (metrics.compare([whole, other], bootstrap=50)[1] for other in (part, lacking))
    assert found.difference == expected.difference


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_one_video_or_equal_videos_have_an_interval_of_no_width(count, seed):
    confusions = np.repeat(some_videos(1, seed), count, axis=0)
    found = score(Tally(tuple(map(str, range(count))), confusions, 0), bootstrap=30, seed=seed)
    assert found.macro_f1_ci.low == pytest.approx(found.macro_f1)
    assert found.macro_f1_ci.high == pytest.approx(found.macro_f1)


def test_no_bootstrap_no_interval():
    found = score(tally(([0], [0])), bootstrap=0)
    assert found.macro_f1_ci is None
    assert found.accuracy_ci is None
