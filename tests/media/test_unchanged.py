"""Frames that only repeat the one before, as frame-rate conversion makes them, are searched and encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.extracting import BLANK, SMALL
from helpers.media_fixtures import LOSSLESS, Pixels, ffmpeg, write_frames
from helpers.runners import Extract
from PIL import Image

from affcli.media import sightings
from affcli.media.faces import FaceDetector
from affcli.media.showing import Closed, Opened
from affcli.media.sightings import SeenFrame, Sighting, same_pixels
from affcli.models.encoders.visual_encoder import Encoded, VisualEncoder
from affcli.models.extract.face_batches import encoded


class Counted:
    """How many pictures were searched for faces, and how many crops were encoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.searched = self.encoded = 0
        detect, start = FaceDetector.detect, VisualEncoder.start

        def detecting(  # type: ignore[no-untyped-def]
            detector: FaceDetector, pixels: Pixels, reduced: Pixels | None = None, *, turn: int = 0
        ):
            self.searched += turn == 0  # the further searches of pictures without a face are not counted
            return detect(detector, pixels, reduced, turn=turn)

        def starting(encoder: VisualEncoder, pictures: Sequence[Pixels]):  # type: ignore[no-untyped-def]
            self.encoded += len(pictures)
            return start(encoder, pictures)

        monkeypatch.setattr(FaceDetector, "detect", detecting)
        monkeypatch.setattr(VisualEncoder, "start", starting)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def doubled(path: Path) -> Path:
    """Twelve frames, some without a face, at 15 frames/s; and each of them twice, at 30, by ffmpeg's `fps` filter."""
    frames = [np.roll(SMALL, 3 * index, axis=1) if index % 5 else BLANK + index for index in range(1, 13)]
    slow = write_frames(path.with_name("slow.mkv"), frames, fps=15)
    ffmpeg("-i", slow, "-vf", "fps=30", *LOSSLESS, path)
    return path


@pytest.mark.parametrize("rule", ["largest", "all"])
def test_each_picture_is_searched_and_encoded_once_and_the_table_is_the_same(
    rule: str, tmp_path: Path, visual: Extract, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubled(tmp_path / "fast.mkv")
    visual("fast.mkv", "--face", rule)
    table = pq.read_table(tmp_path / "V.parquet")
    assert table.num_rows == 24
    assert (counted.searched, counted.encoded) == (12, 10)

    monkeypatch.setattr(sightings, "same_pixels", lambda one, other: False)
    visual("fast.mkv", "--face", rule, output="each.parquet")
    assert (counted.searched, counted.encoded) == (12 + 24, 10 + 20)
    assert (tmp_path / "V.parquet").read_bytes() == (tmp_path / "each.parquet").read_bytes()


def test_a_picture_of_a_folder_that_repeats_the_one_before_is_encoded_once(
    tmp_path: Path, visual: Extract, counted: Counted
) -> None:
    (tmp_path / "crops").mkdir()
    for number, pixels in enumerate([SMALL, SMALL, BLANK, SMALL], start=1):
        Image.fromarray(pixels).save(tmp_path / "crops" / f"{number:05d}.png")
    visual("crops")
    assert (counted.searched, counted.encoded) == (0, 3)
    features = pq.read_table(tmp_path / "V.parquet")["feature"].to_pylist()
    assert features[0] == features[1] == features[3] != features[2]


def test_one_changed_number_is_another_picture() -> None:
    other = SMALL.copy()
    other[17, 3, 1] ^= 1
    assert same_pixels(SMALL, SMALL.copy())
    assert not same_pixels(SMALL, other)
    assert not same_pixels(SMALL, SMALL[:-1])
    assert not same_pixels(SMALL, None)


# --- batches ---------------------------------------------------------------------------------------------------------


class LateEncoder:
    """Tells a crop's first number; its batches run on while others are begun, as on a GPU."""

    batch_size = 4

    def __init__(self, overlap: int) -> None:
        self.overlap, self.running, self.most, self.batches = overlap, 0, 0, list[list[int]]()

    def start(self, crops: Sequence[Pixels]) -> LateEncoder.Later:
        values = [int(crop.flat[0]) for crop in crops]
        self.batches.append(values)
        self.running += 1
        self.most = max(self.most, self.running)
        return self.Later(self, values)

    @dataclass
    class Later:
        encoder: LateEncoder
        values: list[int]

        def faces(self) -> list[Encoded]:
            self.encoder.running -= 1
            return [Encoded(np.array([value], np.float16), np.empty(0, np.float32)) for value in self.values]


def shown(values: Sequence[Sequence[int]]) -> Iterator[SeenFrame]:
    """Frames in which the persons 1, 2, … are seen as these values; the same value is the same sighting."""
    known: dict[int, Sighting] = {}
    for number, seen in enumerate(values, start=1):
        known = {value: known.get(value) or Sighting(np.full((1, 2, 2, 3), value, np.uint8), None) for value in seen}
        yield SeenFrame(number, None, {person: known[value] for person, value in enumerate(seen, start=1)})


@pytest.mark.parametrize("overlap", [0, 1])
def test_every_frame_gets_the_features_of_its_own_sightings_in_order(overlap: int) -> None:
    values = [[1, 2], [], [3, 2], [3, 2], [4], [5, 6, 7, 8, 9], [9, 5], [], [10]]
    encoder = LateEncoder(overlap)
    events = [Opened(None), *shown(values), Closed(None)]  # type: ignore[arg-type]
    done = list(encoded(iter(events), encoder))  # type: ignore[arg-type]
    assert [event for event, _ in done] == events
    found = [[int(faces[person].feature[0]) for person in sorted(faces)] for _, faces in done]
    assert found == [[], *values, []]
    assert encoder.batches == [[1, 2, 3, 2], [4, 5, 6, 7], [8, 9, 10]]
    assert encoder.most == overlap + 1
    assert encoder.running == 0


def test_what_was_shown_before_a_frame_passed_over_is_still_the_same() -> None:
    first, last = shown([[7], [7]])
    passed = SeenFrame(2, None, looked=False)
    encoder = LateEncoder(0)
    done = list(encoded(iter([first, passed, last]), encoder))  # type: ignore[arg-type]
    assert [{person: int(face.feature[0]) for person, face in faces.items()} for _, faces in done] == [
        {1: 7},
        {},
        {1: 7},
    ]
    assert encoder.batches == [[7]]
