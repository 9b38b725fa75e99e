"""Detection, landmarks and alignment, on a photograph and against independent formulas."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.media_fixtures import Pixels, astronaut, write_frames
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from affcli.media.faces import ARCFACE_TEMPLATE, LONG_SIDE, FaceDetector, align, overlap, similarity
from affcli.media.video import open_video


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


def resized(pixels: Pixels, ratio: float) -> Pixels:
    height, width = (round(side * ratio) for side in pixels.shape[:2])
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def on_canvas(pixels: Pixels, height: int, width: int, top: int, left: int) -> Pixels:
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def test_the_face_is_found_where_it_is(detector: FaceDetector) -> None:
    (face,) = detector.detect(astronaut())
    x, y, width, height = face.box
    assert face.score > 0.99
    assert (x + width / 2, y + height / 2) == pytest.approx((222, 118), abs=12)
    eyes, mouth = face.landmarks[:2], face.landmarks[3:]
    assert eyes[0, 0] < face.landmarks[2, 0] < eyes[1, 0]  # image left first
    assert eyes[:, 1].max() < face.landmarks[2, 1] < mouth[:, 1].min()


def test_detection_equals_the_packages_own_before_its_rounding(detector: FaceDetector) -> None:
    import retinaface

    crowd = np.hstack([astronaut()[:300, 100:350], astronaut()[:300, 350:100:-1]])
    expected = retinaface.detect_faces(crowd, score_threshold=0.8)
    found = detector.detect(crowd)
    assert len(found) == len(expected) == 2
    for face, other in zip(found, expected, strict=True):
        assert [int(side) for side in face.box] == [other.x, other.y, other.width, other.height]
        assert face.landmarks.astype(int).tolist() == [[point.x, point.y] for point in other.landmarks]
        assert face.score == pytest.approx(other.score, abs=1e-6)


@pytest.mark.parametrize("size", [(131, 200), (240, 333), (360, 480), (97, 640)])
def test_sizes_that_no_stride_divides(size: tuple[int, int], detector: FaceDetector) -> None:
    import retinaface

    picture = np.array(Image.fromarray(astronaut()).resize(size[::-1]))
    assert len(detector.detect(picture)) == len(retinaface.detect_faces(picture, score_threshold=0.8))


def test_large_pictures_give_landmarks_in_their_own_pixels(detector: FaceDetector) -> None:
    (small,) = detector.detect(on_canvas(astronaut(), 540, 640, 0, 0))
    (large,) = detector.detect(on_canvas(resized(astronaut(), 3), 1620, 1920, 0, 0))
    np.testing.assert_allclose(large.landmarks / 3, small.landmarks, atol=1.0)
    np.testing.assert_allclose(np.array(large.box) / 3, small.box, atol=2.5)


@pytest.mark.parametrize("width", [16, 20, 30])
def test_faces_from_a_fortieth_of_the_long_side_on_are_found(width: int, detector: FaceDetector) -> None:
    """What the reduction to 640 pixels costs: in a picture 1920 wide, faces narrower than about 48 pixels."""
    (face,) = detector.detect(astronaut())
    picture = resized(astronaut(), 3 * width / face.box[2])
    found = detector.detect(on_canvas(picture, max(1080, picture.shape[0]), 1920, 0, 300))
    assert len(found) == 1
    assert found[0].box[2] == pytest.approx(3 * width, rel=0.3)


def test_no_face(detector: FaceDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []
    assert detector.detect(np.zeros((3, 2000, 3), np.uint8)) == []


points = arrays(np.float64, (5, 2), elements=st.floats(-500, 500).map(lambda x: round(x, 3)))


@given(points)
def test_similarity_is_the_least_squares_solution(landmarks: np.ndarray) -> None:
    if np.ptp(landmarks, axis=0).max() < 1:
        return
    x, y = landmarks.T
    one, none = np.ones(5), np.zeros(5)
    rows = np.concatenate([np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)])
    a, b, shift_x, shift_y = np.linalg.lstsq(rows, ARCFACE_TEMPLATE.T.ravel(), rcond=None)[0]
    expected = [[a, -b, shift_x], [b, a, shift_y]]
    np.testing.assert_allclose(similarity(landmarks, ARCFACE_TEMPLATE), expected, atol=1e-6)


def test_landmarks_at_one_point_do_not_break() -> None:
    assert np.isfinite(similarity(np.full((5, 2), 7.0), ARCFACE_TEMPLATE)).all()
    assert align(astronaut(), np.full((5, 2), 7.0), 112).shape == (112, 112, 3)


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("ratio", [0.7, 1, 3])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2])
def test_a_crop_has_its_landmarks_on_the_template(
    size: int, ratio: float, quarter_turns: int, detector: FaceDetector
) -> None:
    """The crop of a turned or resized picture is the crop of the picture itself."""
    (face,) = detector.detect(astronaut())
    upright = align(astronaut(), face.landmarks, size).astype(float)
    picture, landmarks = resized(astronaut(), ratio), (face.landmarks + 0.5) * ratio - 0.5
    for _ in range(quarter_turns):
        x, y = landmarks.T
        landmarks = np.stack([y, picture.shape[1] - 1 - x], axis=1)
        picture = np.rot90(picture)
    crop = align(np.ascontiguousarray(picture), landmarks, size)
    assert np.abs(crop - upright).mean() < 4
    if size == 112:
        (again,) = detector.detect(on_canvas(crop, 224, 224, 56, 56))
        np.testing.assert_allclose(again.landmarks - 56, ARCFACE_TEMPLATE, atol=5)


def test_align_equals_opencv_where_nothing_is_shrunk(detector: FaceDetector) -> None:
    (face,) = detector.detect(astronaut())
    matrix = similarity(face.landmarks, ARCFACE_TEMPLATE * 2)
    np.testing.assert_array_equal(
        align(astronaut(), face.landmarks, 224), cv2.warpAffine(astronaut(), matrix, (224, 224))
    )


def test_a_strongly_reduced_crop_is_averaged_not_sampled() -> None:
    """A fine pattern of black and white becomes grey; every other pixel taken would leave it black or white."""
    checks = (np.indices((2000, 2000)).sum(0) % 2 * 255).astype(np.uint8)
    crop = align(np.repeat(checks[:, :, None], 3, axis=2), ARCFACE_TEMPLATE * 17, 112)
    assert np.abs(crop[2:-2, 2:-2].astype(int) - 127).max() <= 16


@pytest.mark.parametrize("ratio", [1.5, 3.5, 5, 17])
def test_a_reduced_crop_is_not_shifted(ratio: float) -> None:
    """On a slope of brightness, every pixel of the crop has the brightness of the place it shows."""
    slope = np.clip(np.arange(2000) / (112 * ratio) * 200, 0, 255)
    picture = np.repeat(np.tile(slope.round().astype(np.uint8), (2000, 1))[:, :, None], 3, axis=2)
    crop = align(picture, ARCFACE_TEMPLATE * ratio, 112)
    error = crop[2:-2, 2:-2].mean((0, 2)) - np.arange(2, 110) / 112 * 200
    assert abs(error.mean()) < 0.3  # half a pixel of the crop is 0.9


def test_what_lies_outside_the_picture_is_black() -> None:
    white = np.full((112, 112, 3), 255, np.uint8)
    crop = align(white, ARCFACE_TEMPLATE - [40, 0], 112)
    assert crop[:, :39].max() == 0
    assert crop[:, 42:].min() == 255
    far_away = align(np.full((900, 900, 3), 255, np.uint8), ARCFACE_TEMPLATE * 5 - 4000, 112)
    assert far_away.max() == 0


def test_zoom_shows_less_around_the_face(detector: FaceDetector) -> None:
    (face,) = detector.detect(astronaut())
    plain, near = (align(astronaut(), face.landmarks, 224, zoom=zoom).astype(float) for zoom in (1.0, 2.0))
    middle = np.array(Image.fromarray(plain[56:168, 56:168].astype(np.uint8)).resize((224, 224)))
    assert np.abs(near - middle).mean() < 6


def test_overlap() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 2, 2)) == 0


def test_a_broken_opencv_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    code = """
        from affcli.errors import AffcliError
        from affcli.media.faces import FaceDetector
        try:
            FaceDetector()
        except AffcliError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert "libGL.so.1" in done.stdout
    assert "apt install libgl1 libglib2.0-0" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_frame_that_ffmpeg_has_reduced_has_its_faces_in_its_own_pixels(
    tmp_path: Path, detector: FaceDetector
) -> None:
    """In a frame of 1920 pixels the landmarks are those that the detector finds with a reduction of its own."""
    frame = on_canvas(resized(astronaut(), 2), 1080, 1920, 30, 500)
    with open_video(write_frames(tmp_path / "large.mkv", [frame]), reduced_to=LONG_SIDE) as shown:
        (seen,) = shown
    assert seen.pixels is not None
    assert seen.reduced is not None
    assert seen.pixels.shape[:2] == (1080, 1920)
    assert seen.reduced.shape[:2] == (360, 640)
    (own,), (face,) = detector.detect(seen.pixels), detector.detect(seen.pixels, seen.reduced)
    np.testing.assert_allclose(face.landmarks, own.landmarks, atol=1.5)  # half a pixel of the reduced frame
    np.testing.assert_allclose(face.box, own.box, atol=3)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(threads: int, detector: FaceDetector) -> None:
    for one, other in zip(detector.detect(astronaut()), FaceDetector(threads=threads).detect(astronaut()), strict=True):
        assert one.box == other.box
        assert one.score == other.score
        np.testing.assert_array_equal(one.landmarks, other.landmarks)
