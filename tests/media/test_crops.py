"""What the encoder is shown of a face: several crop sizes (`--crop-scale`), and drawings of it (`--debug-faces`)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.media_fixtures import LOSSLESS, Pixels, astronaut, write_frames
from helpers.runners import Affcli
from PIL import Image

from affcli.media import drawings
from affcli.media.drawings import Drawings, drawing
from affcli.media.faces import ARCFACE_TEMPLATE, LONG_SIDE, Face, FaceDetector, align
from affcli.media.sightings import Bookmark, SeenFrame, Sighting, take_pictures, watch_faces
from affcli.media.video import Frame, open_video
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices
from affcli.schema import metadata_of

SMALL = astronaut()[::2, ::2]  # 256 × 256, the face about 60 pixels wide
SCALES = (0.9, 1.2, 1.5)


@pytest.fixture
def visual(affcli: Affcli, tiny_beit: Path):  # type: ignore[no-untyped-def]
    """Runs extract-visual with the tiny encoder in fp32."""

    def run(*arguments: object, output: str = "V.parquet", status: int = 0) -> str:
        options = ("--model", tiny_beit, "--precision", "fp32", "--batch-size", 4, "-o", output)
        return affcli("extract-visual", *options, *arguments, status=status).stderr

    return run


def numbered(pictures: list[Pixels | None]) -> Iterator[Frame]:
    return (Frame(number, number / 25, pixels) for number, pixels in enumerate(pictures, start=1))


# --- scales ----------------------------------------------------------------------------------------------------------


def test_a_scale_shows_that_much_around_the_face() -> None:
    detector = FaceDetector(threads=1)
    (seen,) = watch_faces(detector, "largest", 112, scales=SCALES)(numbered([astronaut()]))
    (face,) = detector.detect(astronaut())
    for scale, crop in zip(SCALES, seen.sightings[1].crops, strict=True):
        assert np.array_equal(crop, align(astronaut(), face.landmarks, 112, zoom=1 / scale))
    (wide,) = detector.detect(seen.sightings[1].crops[2])
    eyes = np.linalg.norm(wide.landmarks[1] - wide.landmarks[0])
    assert eyes == pytest.approx(np.linalg.norm(ARCFACE_TEMPLATE[1] - ARCFACE_TEMPLATE[0]) / 1.5, rel=0.06)


@pytest.mark.parametrize(("squeezed", "aspect", "shape"), [((256, 512), "2", 2), ((512, 256), "1/2", 0.5)])
def test_oblong_pixels_are_shown_square(squeezed: tuple[int, int], aspect: str, shape: float, tmp_path: Path) -> None:
    """The crop is that of the picture as players show it; the box is in pixels of the file's own frame."""
    frame = np.array(Image.fromarray(astronaut()).resize(squeezed, Image.Resampling.BOX))
    path = write_frames(tmp_path / "oblong.mkv", [frame], codec=("-vf", f"setsar={aspect}", *LOSSLESS))
    watch = watch_faces(FaceDetector(threads=1), "largest", 112)
    (square,) = watch(numbered([astronaut()]))
    with open_video(path, reduced_to=LONG_SIDE) as frames:
        (seen,) = watch(frames)
    expected, found = square.sightings[1], seen.sightings[1]
    assert np.abs(found.crops.astype(int) - expected.crops).mean() < 10  # over 50 if pixels are taken for square
    assert expected.face is not None
    assert found.face is not None
    width, height = np.array(expected.face.box[2:]) / np.array(found.face.box[2:])
    assert (width, height) == pytest.approx((max(1, shape), max(1, 1 / shape)), rel=0.05)


def test_features_are_the_mean_over_the_scales_and_the_table_says_so(tmp_path: Path, visual, tiny_beit: Path) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "a.mkv", [np.roll(SMALL, 3 * index, axis=1) for index in range(6)])
    for scale in SCALES:
        visual("a.mkv", "--crop-scale", scale, output=f"{scale}.parquet")
    visual("a.mkv", "--crop-scale", "1.5,0.9,1.2", output="all.parquet")
    single = [np.array(pq.read_table(tmp_path / f"{scale}.parquet")["feature"].to_pylist()) for scale in SCALES]
    together = pq.read_table(tmp_path / "all.parquet")
    np.testing.assert_allclose(np.array(together["feature"].to_pylist()), np.mean(single, axis=0), atol=2e-3)
    assert metadata_of(together.schema)["alignment"] == {
        "template": "arcface-112",
        "size": 32,
        "crop_scales": [0.9, 1.2, 1.5],
    }
    assert "nothing to do" in visual("a.mkv", "--crop-scale", "0.9,1.2,1.5", output="all.parquet")
    visual("a.mkv")
    visual("a.mkv", "--crop-scale", 1, output="one.parquet")
    assert (tmp_path / "V.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert metadata_of(pq.read_schema(tmp_path / "V.parquet"))["alignment"] == {"template": "arcface-112", "size": 32}


def test_of_aligned_pictures_smaller_scales_are_the_middle_and_larger_ones_refused(
    tmp_path: Path, visual, tiny_beit: Path
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "faces" / "x").mkdir(parents=True)
    picture = Image.fromarray(SMALL[:112, 60:172])
    picture.save(tmp_path / "faces" / "x" / "00001.png")
    visual("faces", "--crop-scale", "0.5,1")
    encoder = VisualEncoder(str(tiny_beit), devices.choose("cpu", "fp32"), batch_size=4)
    views = [encoder.preprocessing.fitted(shown) for shown in (picture.crop((28, 28, 84, 84)), picture)]
    stored = np.array(pq.read_table(tmp_path / "V.parquet")["feature"].to_pylist())
    assert np.array_equal(stored, encoder.encode(np.stack([views])))
    said = visual("faces", "--crop-scale", "1,1.2", output="wider.parquet", status=2)
    assert "--crop-scale 1.2: faces/x is a folder of aligned face crops" in said
    for wrong in ("0", "-1", "nan", "1,,2", "a", "11"):
        assert "--crop-scale" in visual("faces", f"--crop-scale={wrong}", status=2)


def test_the_middle_of_an_odd_picture_is_in_whole_pixels() -> None:
    picture = np.arange(11 * 7 * 3, dtype=np.uint8).reshape(7, 11, 3)
    (seen,) = take_pictures(np.asarray, scales=(0.5,))(numbered([picture]))
    assert np.array_equal(seen.sightings[1].crops[0], picture[1:5, 2:8])  # 5.5 → 6 wide, 3.5 → 4 high


# --- drawings --------------------------------------------------------------------------------------------------------


def seen_faces(frames: Iterator[Frame], after: Bookmark | None = None) -> Iterator[SeenFrame]:
    """A watcher that sees a face of grey in every frame with a picture, some frames later than it takes them."""
    face = Face(0.9, (10.0, 20.0, 30.0, 40.0), np.full((5, 2), 30, np.float32), np.zeros(1, np.float32))
    for frame in list(frames):
        crops = np.full((2, 8, 8, 3), 90, np.uint8)
        sightings = {} if frame.pixels is None else {1: Sighting(crops, face)}
        yield SeenFrame(frame.number, frame.time_s, sightings)


def drawn(folder: Path) -> list[int]:
    return sorted(int(path.stem.rpartition("_")[2]) for path in folder.iterdir())


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(0, []), (3, [1, 2, 3]), (8, list(range(1, 9))), (9, [1, 3, 5, 7, 9]), (100, [1, 17, 33, 49, 65, 81, 97])],
)
def test_at_most_eight_frames_are_drawn_and_they_are_evenly_spaced(
    frames: int, expected: list[int], tmp_path: Path
) -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    sheets = Drawings(str(tmp_path / "drawn"))
    assert len(list(sheets.of("v", seen_faces)(numbered([picture] * frames)))) == frames
    assert drawn(tmp_path / "drawn") == expected


def test_drawing_goes_on_where_extraction_does_and_begins_anew_where_that_does(tmp_path: Path) -> None:
    pictures = [np.zeros((60, 80, 3), np.uint8)] * 100
    sheets = Drawings(str(tmp_path))
    (tmp_path / "v_000002.jpg").write_bytes(b"of another time")
    (tmp_path / "v_2_000002.jpg").write_bytes(b"of another video")
    list(sheets.of("v", seen_faces)(numbered(pictures[:40])))
    list(sheets.of("v", seen_faces)((frame for frame in numbered(pictures) if frame.number > 40), Bookmark(40)))
    assert (tmp_path / "v_2_000002.jpg").read_bytes() == b"of another video"
    (tmp_path / "v_2_000002.jpg").unlink()
    assert drawn(tmp_path) == [1, 17, 33, 49, 65, 81, 97]
    list(sheets.of("v", seen_faces)(numbered(pictures[:2])))
    assert drawn(tmp_path) == [1, 2]


def test_a_drawing_has_frame_box_landmarks_and_crops() -> None:
    frame = np.full((400, 1280, 3), 200, np.uint8)
    landmarks = np.array([[640, 120], [680, 120], [660, 160], [640, 200], [680, 200]], np.float32)
    face = Face(0.97, (600.0, 80.0, 120.0, 160.0), landmarks, np.zeros(1, np.float32))
    crops = np.stack([np.full((32, 32, 3), grey, np.uint8) for grey in (50, 150)])
    sheet = np.array(drawing(frame, SeenFrame(7, 0.28, {1: Sighting(crops, face)})))
    picture = sheet[16:216, :640]  # the frame at half its size, below the line of words
    yellow = (255, 212, 0)
    assert (picture[100, 20] == 200).all()
    for x, y in ((300, 80), (360, 80), (330, 40), (330, 120)):  # the middles of the box's sides
        assert (picture[y, x] == yellow).all()
    for x, y in landmarks / 2:
        assert (picture[int(y), int(x)] == yellow).all()
    assert [sheet[100, 640 + 8 + 90].tolist(), sheet[100, 640 + 8 + 290].tolist()] == [[50] * 3, [150] * 3]
    nobody = drawing(frame, SeenFrame(8, None))
    assert nobody.size == (640, 216)


def test_drawings_change_nothing_in_the_table(tmp_path: Path, visual) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in" / "s1").mkdir(parents=True)
    write_frames(tmp_path / "in" / "s1" / "a.mkv", [SMALL, np.zeros_like(SMALL), np.roll(SMALL, 9, axis=1)] * 4)
    (tmp_path / "in" / "s2").mkdir()
    face = Image.fromarray(SMALL[:112, 60:172])
    for name in ("00002.png", "00004.png"):
        face.save(tmp_path / "in" / "s2" / name)
    visual("in", "--names", "path", "--every", 2)
    visual("in", "--names", "path", "--every", 2, "--debug-faces", "deep/drawn", output="drawn.parquet")
    assert (tmp_path / "V.parquet").read_bytes() == (tmp_path / "drawn.parquet").read_bytes()
    names = sorted(str(path.relative_to(tmp_path / "deep" / "drawn")) for path in (tmp_path / "deep").rglob("*.jpg"))
    assert names == [f"s1/a_{number:06d}.jpg" for number in (1, 3, 5, 7, 9, 11, 12)] + ["s2_000004.jpg"]
    with Image.open(tmp_path / "deep" / "drawn" / "s1" / "a_000001.jpg") as sheet:
        assert sheet.size == (256 + 208, 272)


def test_a_folder_that_cannot_be_drawn_into_costs_no_features(
    tmp_path: Path, visual, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "a.mkv", [SMALL] * 3)
    (tmp_path / "file").write_text("")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "s1").write_text("")
    assert "--debug-faces file: the folder cannot be made" in visual("a.mkv", "--debug-faces", "file", status=1)

    (tmp_path / "s1").mkdir()
    write_frames(tmp_path / "s1" / "b.mkv", [SMALL] * 3)
    said = visual(".", "--names", "path", "--debug-faces", "half", output="half.parquet")
    assert said.count("half: nothing more is drawn") == 1

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(drawings, "drawing", full)
    said = visual("a.mkv", "--debug-faces", "drawn")
    assert said.count("drawn: nothing more is drawn (No space left on device)") == 1
    assert pq.read_table(tmp_path / "V.parquet")["face"].to_pylist() == [True] * 3
