"""Faces that lie: found by turning the picture, at most a pause late, and the same when work is taken up again."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.media_fixtures import Pixels, astronaut

from affcli.media.faces import Face, FaceDetector, turned
from affcli.media.sightings import Bookmark, watch_faces
from affcli.media.turned import NOT_SEARCHED, Search, find_faces, roll_of
from affcli.media.video import Frame

SMALL: Pixels = np.ascontiguousarray(astronaut()[::2, ::2])
BLANK = np.zeros_like(SMALL)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


@pytest.fixture(scope="module")
def upright(detector: FaceDetector) -> Face:
    [face] = detector.detect(SMALL)
    return face


@pytest.mark.parametrize("degrees", [45, 90, 120, 180, 225, 270, 330])
def test_a_face_is_found_at_any_roll_where_it_is(degrees: int, detector: FaceDetector, upright: Face) -> None:
    lying, back = turned(SMALL, 360 - degrees)
    found = find_faces(detector, lying, None, 1, NOT_SEARCHED)
    [face] = found.faces
    expected = (upright.landmarks - back[:, 2]) @ np.linalg.inv(back[:, :2]).T
    eyes = np.linalg.norm(expected[0] - expected[1])
    assert np.linalg.norm(face.landmarks - expected, axis=1).mean() < 0.18 * eyes
    assert abs((roll_of(face) - roll_of(upright) - degrees + 180) % 360 - 180) < 16
    x, y, width, height = face.box
    centre = np.array([x + width / 2, y + height / 2])
    assert np.linalg.norm(centre - expected.mean(axis=0)) < eyes


def test_an_upright_face_is_found_as_ever_and_costs_one_search(detector: FaceDetector, upright: Face) -> None:
    found = find_faces(detector, SMALL, None, 1, NOT_SEARCHED)
    assert (found.turn, found.doubtful, found.search) == (0, False, NOT_SEARCHED)
    assert found.faces[0].box == upright.box
    assert np.array_equal(found.faces[0].landmarks, upright.landmarks)


class Counting:
    """Finds nothing, and counts how often it was asked to, by turn."""

    def __init__(self) -> None:
        self.turns: list[int] = []

    def detect(self, pixels: Pixels, reduced: Pixels | None = None, *, turn: int = 0) -> list[Face]:
        self.turns.append(turn)
        return []


def test_frames_without_a_face_are_searched_turned_ever_more_rarely() -> None:
    nobody, search = Counting(), NOT_SEARCHED
    for number in range(1, 501):
        search = find_faces(nobody, BLANK, None, number, search).search  # type: ignore[arg-type]
    assert nobody.turns.count(0) == 500
    assert nobody.turns.count(90) == 13  # frames 1, 2, 4, 8, …, 64, then every 64th


def frames(pictures: list[Pixels]) -> list[Frame]:
    return [Frame(number, number / 25, pixels) for number, pixels in enumerate(pictures, start=1)]


def test_the_turn_is_remembered_also_across_an_interruption(detector: FaceDetector) -> None:
    lying = np.ascontiguousarray(np.rot90(SMALL))
    shown = frames([SMALL, lying, np.roll(lying, 3, axis=0), BLANK, np.roll(lying, 6, axis=0), SMALL])
    watch = watch_faces(detector, "largest", 32)
    whole = list(watch(iter(shown)))
    assert [seen.turn for seen in whole] == [0, 270, 270, 0, 270, 0]
    assert [bool(seen.sightings) for seen in whole] == [True, True, True, False, True, True]
    for seen in whole[:-1]:
        assert seen.bookmark is not None
        after = Bookmark.from_json(seen.bookmark.as_json())
        again = list(watch(iter(shown[seen.number :]), after))
        for one, other in zip(again, whole[seen.number :], strict=True):
            assert one.bookmark is not None
            assert other.bookmark is not None
            assert one.bookmark.as_json() == other.bookmark.as_json()
    crops = [seen.sightings[1].crops[0].astype(int) for seen in whole if seen.sightings]
    assert max(np.abs(crop - crops[0]).mean() for crop in crops) < 25  # all upright


def test_where_a_search_stands_goes_through_json() -> None:
    search = Search(turn=90, mixed=True, rests_until=7, rest=4)
    assert Search.from_json(search.as_json()) == search
