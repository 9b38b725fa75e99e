"""Who is followed: rules on faces made up for the purpose, then real faces that move, cross, hide and are cut away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from helpers.media_fixtures import Pixels, astronaut, shared_clip
from PIL import Image

from affcli.media.faces import ARCFACE_TEMPLATE, Face, FaceDetector
from affcli.media.person_tracking import Follower, Memory, Rule
from affcli.media.video import open_video

FPS = 25


def face(x: float, y: float = 100, size: float = 60, look: float = 0.5) -> Face:
    """A face centred at (x, y), of one colour."""
    landmarks = (ARCFACE_TEMPLATE / 112 * size + [x - size / 2, y - size / 2]).astype(np.float32)
    colour = np.full(768, look, np.float32)
    return Face(0.99, (x - size / 2, y - size / 2, size, size), landmarks, colour)


def centres(rule: Rule, frames: Sequence[Sequence[Face]], fps: float = FPS) -> list[float | None]:
    """The x of the face taken in each frame, None where none is."""
    follower = Follower(rule)
    taken = [follower.follow(faces, index / fps).get(1) for index, faces in enumerate(frames)]
    return [None if one is None else one.box[0] + one.box[2] / 2 for one in taken]


def test_largest_stays_with_the_person_it_began_with() -> None:
    frames = [[face(100, size=60 + n), face(300, size=70)] for n in range(-20, 60)]
    assert centres("largest", frames) == [300] * 80


def test_largest_waits_for_a_person_who_is_covered_and_takes_nobody_else() -> None:
    a, b = face(100, size=80, look=0.2), face(300, look=0.8)
    hidden = [[a, b]] * 5 + [[b]] * 40 + [[a, b]] * 5
    assert centres("largest", hidden) == [100] * 5 + [None] * 40 + [100] * 5


def test_largest_goes_to_another_person_when_the_first_has_left() -> None:
    a, b = face(100, size=80, look=0.2), face(300, look=0.8)
    taken = centres("largest", [[a, b]] * 5 + [[b]] * 60)
    assert taken[5:54] == [None] * 49
    assert taken[56:] == [300] * 9


def test_a_face_walking_through_in_front_is_not_taken() -> None:
    still = face(320, size=80, look=0.3)
    frames = []
    for n in range(60):
        walker = face(20 + n * 11, size=90, look=0.7)
        hides = abs(walker.box[0] + 45 - 320) < 70
        frames.append([walker] if hides else [still, walker] if n > 2 else [still])
    taken = centres("largest", frames)
    assert set(taken) == {320, None}
    assert taken[-1] == 320


def test_two_who_cross_keep_their_numbers_though_they_look_alike() -> None:
    follower = Follower("all")
    for n in range(50):
        tracks = follower.follow([face(100 + 8 * n, y=100), face(492 - 8 * n, y=104)], n / FPS)
        assert tracks[1].box[1] == 70
        assert tracks[2].box[1] == 74


def test_two_who_meet_and_turn_back_are_told_apart_by_their_looks() -> None:
    follower = Follower("all")
    for n in range(-25, 26):
        gap = 6 * abs(n)  # the face on the right hides the other while they are nearer than 30 pixels
        right, left = face(300 + gap / 2, look=0.6), face(300 - gap / 2, look=0.4)
        tracks = follower.follow([right] if gap < 30 else [right, left], n / FPS)
    assert {number: round(float(one.look[0]), 1) for number, one in tracks.items()} == {1: 0.6, 2: 0.4}


def test_a_cut_to_somebody_else_is_followed_at_once() -> None:
    frames = [[face(100, look=0.2)]] * 10 + [[face(400, size=90, look=0.9)]] * 10
    assert centres("largest", frames) == [100] * 10 + [400] * 10


def test_a_cut_to_the_same_person_elsewhere_keeps_that_person() -> None:
    before = [[face(100, look=0.2), face(300, size=50, look=0.8)]] * 10
    after = [[face(500, size=30, look=0.2), face(400, size=90, look=0.95)]] * 10
    assert centres("largest", before + after) == [100] * 10 + [500] * 10


def test_a_flicker_of_the_detector_at_the_start_is_not_waited_for() -> None:
    frames = [[face(500, size=200), face(100)]] + [[face(100)]] * 5
    assert centres("largest", frames) == [500] + [100] * 5


@pytest.mark.parametrize(("rule", "taken"), [("left", 100), ("right", 400)])
def test_sides_are_sides_of_the_picture(rule: Rule, taken: float) -> None:
    frames = [[face(250, size=100), face(400, look=0.8), face(100, look=0.2)]] * 5
    assert centres(rule, frames) == [taken] * 5


def test_a_side_does_not_flicker_to_the_other_person_but_goes_there_in_time() -> None:
    a, b = face(100, look=0.2), face(300, look=0.8)
    assert centres("left", [[a, b]] * 5 + [[b]] * 3 + [[a, b]] * 5) == [100] * 5 + [None] * 3 + [100] * 5
    taken = centres("left", [[a, b]] * 5 + [[b]] * 30)
    assert taken[-10:] == [300] * 10
    assert centres("left", [[b]] * 5 + [[a, b]] + [[b]] * 5) == [300] * 11


def test_sides_are_exchanged_by_those_who_cross() -> None:
    frames = [[face(100 + 8 * n, look=0.2), face(492 - 8 * n, look=0.8)] for n in range(50)]
    taken = centres("left", frames)
    assert all(x == min(100 + 8 * n, 492 - 8 * n) for n, x in enumerate(taken))


def test_all_numbers_persons_by_appearance_larger_first() -> None:
    follower = Follower("all")
    first = follower.follow([face(100, size=50), face(300, size=90)], 0)
    assert {number: one.box[2] for number, one in first.items()} == {1: 90, 2: 50}
    for n in range(1, 4):
        later = follower.follow([face(100, size=50), face(500, size=99, look=0.9)], n / FPS)
        expected = {2: 50, 3: 99} if n == 3 else {2: 50}  # who joins counts from the third sight on
        assert {number: one.box[2] for number, one in later.items()} == expected


def test_a_flicker_and_a_mixture_of_two_faces_are_nobody() -> None:
    follower = Follower("all")
    numbers: set[int] = set()
    for n in range(60):
        faces = [face(200, look=0.2), face(280, look=0.8)]
        faces += [face(235, look=0.5)] if n > 5 else []
        faces += [face(500)] if n % 30 == 10 else []
        numbers |= set(follower.follow(faces, n / FPS))
    assert numbers == {1, 2}


def test_someone_who_comes_back_after_the_wait_is_somebody_new() -> None:
    follower = Follower("all")
    follower.follow([face(100)], 0)
    assert set(follower.follow([face(100)], 1.9)) == {1}
    assert set(follower.follow([face(100)], 4.0)) == {2}


@pytest.mark.parametrize("fps", [7.5, 25, 60])
def test_fast_motion_is_followed_at_every_rate(fps: float) -> None:
    frames = [[face(60 + 150 * n / fps), face(600, y=300)] for n in range(int(3 * fps))]
    assert centres("largest", frames, fps) == pytest.approx([60 + 150 * n / fps for n in range(int(3 * fps))])


def test_no_faces_at_all() -> None:
    for rule in ("largest", "left", "right", "all"):
        follower = Follower(rule)
        assert [follower.follow([], n / FPS) for n in range(100)] == [{}] * 100


# Real faces, found by the detector in pictures composed of two people.


@cache
def person(*, other: bool = False) -> tuple[Pixels, Pixels]:
    """A head, uint8 [160, 120, 3], and its mask; `other`: mirrored, with hair and skin of other colours."""
    head = np.array(Image.fromarray(astronaut()[10:230, 140:305]).resize((120, 160)))
    if other:
        head = (255 * (head[:, ::-1, ::-1] / 255.0) ** 1.8).astype(np.uint8)
    y, x = np.mgrid[-1:1:160j, -1:1:120j]
    return head, ((x**2 + y**2) < 1)[:, :, None]


def scene(*heads: tuple[bool, float, float], covers: Sequence[tuple[int, int]] = ()) -> Pixels:
    """A picture 640 × 360: heads (other, x, y of the centre), later ones in front; grey boards over x ranges."""
    picture = np.full((360, 640, 3), 90, np.uint8)
    picture[::2, ::3] = 110
    for other, x, y in heads:
        head, mask = person(other=other)
        top, left = round(y) - 80, round(x) - 60
        part = picture[top : top + 160, left : left + 120]
        part[:] = np.where(mask, head, part)
    for start, stop in covers:
        picture[:, start:stop] = 60
    return picture


def follow_scenes(
    rule: Rule, pictures: Sequence[Pixels], detector: FaceDetector
) -> list[dict[int, tuple[float, bool]]]:
    """For each picture: number → x of the face, and whether it is the other person (blue skin)."""
    follower = Follower(rule)
    result = []
    for index, picture in enumerate(pictures):
        taken = follower.follow(detector.detect(picture), index / FPS)
        seen = {}
        for number, one in taken.items():
            x, y = (round(value) for value in one.landmarks[2])
            red, _, blue = picture[y - 8 : y + 8, x - 8 : x + 8].reshape(-1, 3).mean(0)
            seen[number] = (one.box[0] + one.box[2] / 2, bool(blue > red))
        result.append(seen)
    return result


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


@pytest.fixture(scope="module")
def crossing(detector: FaceDetector) -> list[Pixels]:
    """One walks to the right behind the other, who walks to the left, over 2.4 s."""
    return [scene((False, 100 + 7 * n, 180), (True, 520 - 7 * n, 180)) for n in range(60)]


def test_the_two_people_are_both_found(crossing: list[Pixels], detector: FaceDetector) -> None:
    assert len(detector.detect(crossing[0])) == len(detector.detect(crossing[-1])) == 2
    assert any(len(detector.detect(picture)) == 1 for picture in crossing[25:35])  # one is hidden for a while


@pytest.mark.parametrize("first", [False, True])
def test_largest_stays_with_one_of_two_who_cross(first: bool, crossing: list[Pixels], detector: FaceDetector) -> None:
    """Whoever is followed at first (the other stands further off then) is followed after the crossing."""
    alone = [scene((first, 100 if not first else 520, 180))] * 3
    seen = follow_scenes("largest", [*alone, *crossing], detector)
    assert {other for faces in seen for _, other in faces.values()} == {first}
    assert seen[-1][1][0] == pytest.approx(513 if not first else 107, abs=15)
    assert sum(bool(faces) for faces in seen) > 45


def test_all_keeps_the_numbers_of_two_who_cross(crossing: list[Pixels], detector: FaceDetector) -> None:
    seen = follow_scenes("all", crossing, detector)
    persons = {(number, other) for faces in seen for number, (_, other) in faces.items()}
    assert len(persons) == 2
    assert len({number for number, _ in persons}) == 2


def test_left_and_right_of_two_who_cross(crossing: list[Pixels], detector: FaceDetector) -> None:
    for rule, before, after in (("left", False, True), ("right", True, False)):
        seen = follow_scenes(rule, crossing, detector)
        assert seen[0][1][1] is before
        assert seen[-1][1][1] is after


def test_a_person_who_goes_behind_a_board_is_found_again(detector: FaceDetector) -> None:
    walk = [scene((False, 80 + 7 * n, 180), (True, 575, 180), covers=[(180, 330)]) for n in range(50)]
    seen = follow_scenes("largest", [scene((False, 80, 180)), *walk], detector)
    assert {other for faces in seen for _, other in faces.values()} == {False}
    assert any(not faces for faces in seen)
    assert seen[-1]


def test_a_turn_of_the_head_away_from_the_camera_is_waited_out(detector: FaceDetector) -> None:
    def turned(width: int) -> Pixels:
        picture = scene((True, 500, 180))
        head, mask = person()
        narrow = np.array(Image.fromarray(head).resize((width, 160)))
        narrow_mask = np.array(Image.fromarray(mask[:, :, 0]).resize((width, 160)))[:, :, None]
        left = 150 - width // 2
        picture[100:260, left : left + width] = np.where(narrow_mask, narrow, picture[100:260, left : left + width])
        return picture

    widths = [120] * 5 + list(range(120, 20, -10)) + [20] * 20 + list(range(20, 120, 10)) + [120] * 5
    seen = follow_scenes("largest", [scene((False, 150, 180)), *map(turned, widths)], detector)
    assert {other for faces in seen for _, other in faces.values()} == {False}
    assert any(not faces for faces in seen)
    assert seen[-1][1][0] == pytest.approx(150, abs=10)


def test_two_people_of_real_clips_keep_their_numbers_as_they_cross(detector: FaceDetector) -> None:
    """An actress and an actor, both speaking or pulling faces, walk past one another with a third standing by."""
    one, two = (moving_head(name, box) for name, box in REAL_HEADS)
    pictures = []
    for n, (first, second) in enumerate(zip(one, two, strict=False)):
        picture = np.full((360, 640, 3), 100, np.uint8)
        for head, x in ((first, 80 + 8 * n), (second, 560 - 8 * n)):
            left = x - head.shape[1] // 2
            picture[80 : 80 + head.shape[0], left : left + head.shape[1]] = head
        pictures.append(picture)
    follower = Follower("all")
    x_of: dict[int, list[float]] = {}
    for index, picture in enumerate(pictures):
        for number, found in follower.follow(detector.detect(picture), index / FPS).items():
            x_of.setdefault(number, []).append(found.box[0] + found.box[2] / 2)
    assert sorted(x_of) == [1, 2]
    assert sorted(np.sign(xs[-1] - xs[0]) for xs in x_of.values()) == [-1, 1]
    assert all(len(xs) > 0.7 * len(pictures) for xs in x_of.values())
    for xs in x_of.values():
        steps = np.sign(xs[-1] - xs[0]) * np.diff(xs)
        assert steps.min() > -8  # nobody turns back


REAL_HEADS = (
    ("1001_DFA_ANG_XX.flv", (150, 40, 130, 190)),
    ("WolfgangLanger_Pexels.mp4", (290, 0, 300, 360)),
)


def moving_head(name: str, box: tuple[int, int, int, int]) -> list[Pixels]:
    """The head in the first 60 frames of a real clip, 120 pixels wide."""
    left, top, width, height = box
    with open_video(shared_clip(name)) as frames:
        parts = [
            frame.pixels[top : top + height, left : left + width] for frame, _ in zip(frames, range(60), strict=False)
        ]
    size = (120, round(120 * height / width))
    return [np.array(Image.fromarray(part).resize(size)) for part in parts]


@pytest.mark.parametrize("rule", ["largest", "left", "right", "all"])
def test_a_follower_that_remembers_goes_on_exactly_as_if_never_stopped(rule: Rule) -> None:
    """Random faces that come, go and jump; the memory goes through JSON text after every frame."""
    random = np.random.default_rng(3)
    whole, broken = Follower(rule), Follower(rule)
    for index in range(200):
        looks = random.permutation([0.1, 0.4, 0.42, 0.9])[: random.integers(0, 5)]
        faces = [
            face(*random.uniform(50, 300, 2), random.uniform(40, 90), look + random.normal(0, 0.02)) for look in looks
        ]
        time_s = index * 0.3
        assert broken.follow(faces, time_s) == whole.follow(faces, time_s)
        stored = json.dumps(broken.memory().as_json())
        broken = Follower.remembering(rule, Memory.from_json(json.loads(stored)))
        assert json.dumps(whole.memory().as_json()) == stored
