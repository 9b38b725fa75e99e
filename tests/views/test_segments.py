"""Segments: runs of a label, and the rule by which short ones join their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affcli.schema import CLASSES
from affcli.views.labelled_video import LabelledVideo, lengths_s
from affcli.views.segments import confidences, gaps_of, runs, segments_of


def video(labels: list[int], frame: list[int] | None = None, times_s: list[float] | None = None) -> LabelledVideo:
    number = np.arange(1, len(labels) + 1) if frame is None else np.array(frame)
    start_s = (number - 1.0) if times_s is None else np.array(times_s)
    end_s = start_s + lengths_s(number, start_s)
    label = np.array(labels, np.int64)
    return LabelledVideo("v", CLASSES, number, label, start_s, end_s, None, None, None, None)


def shown(one: LabelledVideo, min_seconds: float = 0) -> list[tuple[int, int, int]]:
    """First frame, last frame, label."""
    found = segments_of(one, min_seconds=min_seconds)
    rows = (one.frame[found.first], one.frame[found.last], found.label)
    return list(zip(*(part.tolist() for part in rows), strict=True))


def test_a_segment_is_a_run_of_one_label() -> None:
    assert shown(video([4, 4, 0, 4])) == [(1, 2, 4), (3, 3, 0), (4, 4, 4)]
    assert shown(video([])) == []


def test_frames_without_label_and_jumps_in_numbers_end_a_segment() -> None:
    assert shown(video([4, -1, 4, 4], frame=[1, 2, 3, 9])) == [(1, 1, 4), (3, 3, 4), (9, 9, 4)]


def test_a_short_segment_takes_the_label_of_its_longer_neighbour() -> None:
    assert shown(video([0, 0, 1, 2, 2, 2]), min_seconds=2) == [(1, 2, 0), (3, 6, 2)]


def test_of_equal_neighbours_the_earlier_wins() -> None:
    assert shown(video([0, 0, 1, 2, 2]), min_seconds=2) == [(1, 3, 0), (4, 5, 2)]


def test_neighbours_of_one_label_become_one_segment() -> None:
    assert shown(video([0, 0, 1, 0, 0]), min_seconds=2) == [(1, 5, 0)]


def test_the_shortest_joins_first() -> None:
    # The single 1 goes to the three 0, and only then the 2: to those four 0, not to the three 3.
    assert shown(video([0, 0, 0, 1, 2, 2, 3, 3, 3]), min_seconds=3) == [(1, 6, 0), (7, 9, 3)]
    assert shown(video([0, 0, 0, 2, 2, 1, 3, 3, 3]), min_seconds=3) == [(1, 3, 0), (4, 9, 3)]


def test_a_short_segment_between_gaps_stays() -> None:
    assert shown(video([0, 0, -1, 1, -1, 2, 2]), min_seconds=9) == [(1, 2, 0), (4, 4, 1), (6, 7, 2)]


def test_a_segment_of_exactly_the_least_length_stays() -> None:
    times_s = [i / 30 for i in range(6)]  # 0.1 s is no binary number
    assert shown(video([0, 0, 0, 1, 1, 1], times_s=times_s), min_seconds=0.1) == [(1, 3, 0), (4, 6, 1)]


def naive(labels: list[int], least: int) -> list[int]:
    """The rule, word by word, on frames of a second each."""
    labels = list(labels)
    while True:
        cuts = [i for i in range(1, len(labels)) if labels[i] != labels[i - 1]]
        spans = list(zip([0, *cuts], [*cuts, len(labels)], strict=True))
        short = sorted((b - a, k) for k, (a, b) in enumerate(spans) if labels[a] >= 0 and b - a < least)
        for _, k in short:
            sides = [s for s in (k - 1, k + 1) if 0 <= s < len(spans) and labels[spans[s][0]] >= 0]
            if sides:
                longer = max(sides, key=lambda s: (spans[s][1] - spans[s][0], -s))
                labels[spans[k][0] : spans[k][1]] = [labels[spans[longer][0]]] * (spans[k][1] - spans[k][0])
                break
        else:
            return labels


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40), st.integers(1, 6))
def test_joining_is_what_the_rule_says(labels: list[int], least: int) -> None:
    found = np.full(len(labels), -1)
    for first, last, label in shown(video(labels), min_seconds=least):
        found[first - 1 : last] = label
    assert found.tolist() == naive(labels, least)


@given(st.lists(st.integers(-1, 2), max_size=30))
def test_runs_cover_every_row_once(labels: list[int]) -> None:
    found = runs(np.array(labels, np.int64))
    again = np.repeat(found.label, found.last - found.first + 1)
    assert again.tolist() == labels
    assert (np.diff(found.label) != 0).all()


def test_gaps_are_where_something_is_missing() -> None:
    found = gaps_of(video([0] * 5), np.array([True, False, False, True, False]))
    assert list(zip(found.first.tolist(), found.last.tolist(), strict=True)) == [(1, 2), (4, 4)]


def test_confidence_is_the_mean_probability_of_the_label() -> None:
    probability = np.array([[0.5, 0.5], [0.7, 0.3], [np.nan, np.nan], [0.2, 0.8]])
    one = LabelledVideo("v", ("A", "B"), np.arange(1, 5), np.array([0, 0, 0, 1]), None, None, probability, *[None] * 3)
    assert confidences(one, segments_of(one)).tolist() == pytest.approx([0.6, 0.8])


def test_a_frame_is_shown_until_the_next_and_the_last_as_long_as_the_one_before() -> None:
    assert lengths_s(np.array([1, 2, 3]), np.array([0, 0.1, 0.4])).tolist() == pytest.approx([0.1, 0.3, 0.3])
    # Frame 3 has no row: frame 2 takes the interval before it; frame 9 has none before it and takes the median.
    assert lengths_s(np.array([1, 2, 9]), np.array([0, 0.1, 3])).tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert lengths_s(np.array([7]), np.array([2.0])).tolist() == [0.04]
