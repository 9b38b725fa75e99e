"""Readers of FER2013 alone, ExpW, Parquet of pictures, and folders whose names are words for the classes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from helpers.face_sets import expw_list, hub_parquet, numbered_folders

from affcli.errors import FaceSetError
from affcli.facesets.listing import Labelled, Listing
from affcli.facesets.preparing import Preparation, Preparer
from affcli.facesets.static import list_static
from affcli.schema import CLASSES


def classes(labelled: Labelled) -> list[str]:
    """The classes in the order of the list."""
    return [CLASSES[label] for label in labelled.labels]


def listed(kind: str, place: Path) -> Listing:
    return list_static([(kind, place)], holdout=0)


def grey(labelled: Labelled) -> list[int]:
    """The middle pixel of each picture as it is read."""
    preparer = Preparer(Preparation(8, align=False))
    made = [preparer.prepare(origin)[0] for origin in labelled.origins]
    return [int(pixels[4, 4, 0]) for pixels in made if pixels is not None]


# --- FER2013 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("fer2013.csv", "emotion,pixels,Usage", "{emotion},{pixels},{usage}"),
        ("icml_face_data.csv", "emotion, Usage, pixels", "{emotion},{usage},{pixels}"),
    ],
)
def test_fer2013_alone_is_read_by_its_own_labels(tmp_path: Path, name: str, header: str, row: str) -> None:
    usages = ["Training"] * 5 + ["PublicTest", "PrivateTest"]
    lines = [
        row.format(emotion=number, pixels=" ".join([str(number)] * 64), usage=usage)
        for number, usage in enumerate(usages)
    ]
    (tmp_path / name).write_text("\n".join([header, *lines, ""]))
    for place in (tmp_path, tmp_path / name):
        found = listed("fer2013", place)
        assert classes(found.train) == ["Anger", "Disgust", "Fear", "Happiness", "Sadness"]
        assert (classes(found.held_out), classes(found.unused)) == (["Surprise"], ["Neutral"])
        assert grey(found.train) == [0, 1, 2, 3, 4]


def test_an_emotion_that_fer2013_does_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n7,1 2 3 4,Training\n")
    with pytest.raises(FaceSetError, match=r"fer2013\.csv, row 2: emotion '7'"):
        listed("fer2013", tmp_path)


# --- ExpW ------------------------------------------------------------------------------------------------------------


def test_expw_faces_are_boxes_in_pictures(tmp_path: Path) -> None:
    lines = [f"a.jpg {face} 2 {3 + face} 12 22 99.5 {face}" for face in range(7)]
    found = listed("expw", expw_list(tmp_path, lines))
    assert classes(found.train) == ["Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral"]
    assert [origin.box for origin in found.train.origins][:2] == [(3, 2, 9, 20), (4, 2, 8, 20)]


def test_an_expw_line_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(FaceSetError, match=r"label\.lst, line 1: 'a\.jpg 0 1 1 5 5 9 7' is not"):
        listed("expw", expw_list(tmp_path, ["a.jpg 0 1 1 5 5 9 7"]))


# --- Parquet ---------------------------------------------------------------------------------------------------------


def test_parquet_of_the_hub_has_pictures_and_named_labels(tmp_path: Path) -> None:
    names = ["angry", "happy", "contempt"]
    hub_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [0, 1, 2, 1, -1], names=names)
    hub_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [1], names=names)
    found = listed("parquet", tmp_path)
    assert classes(found.train) == ["Anger", "Happiness", "Other", "Happiness"]
    assert classes(found.held_out) == ["Happiness"]
    assert grey(found.train) == [0, 1, 2, 3]


def test_parquet_labels_may_be_words(tmp_path: Path) -> None:
    found = listed("parquet", hub_parquet(tmp_path / "faces.parquet", ["joy", "sad"]))
    assert classes(found.train) == ["Happiness", "Sadness"]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1], None, "does not say what they mean"),
        ([0, 5], ["sad", "happy"], "holds 5; it has names for 0 to 1"),
        (["boredom"], None, "label 'boredom' is none of the classes"),
    ],
)
def test_parquet_labels_that_mean_no_class_are_named(
    tmp_path: Path, labels: list[object], names: list[str] | None, message: str
) -> None:
    with pytest.raises(FaceSetError, match=message):
        listed("parquet", hub_parquet(tmp_path / "faces.parquet", labels, names=names))


# --- folders ---------------------------------------------------------------------------------------------------------


def test_class_folders_may_be_named_by_any_word_and_numbered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["1_Surprise", "suprise", "HAPPY", "05. sad", "neutral-0", "contempt"]
    with caplog.at_level(logging.WARNING):
        found = listed("folder", numbered_folders(tmp_path, names))
    by_value = dict(zip(grey(found.train), classes(found.train), strict=True))
    assert by_value == {0: "Surprise", 1: "Surprise", 2: "Happiness", 3: "Sadness", 4: "Neutral", 5: "Other"}
    assert "contempt counts as Other" in caplog.text


def test_a_folder_that_is_no_class_is_named_with_the_class_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(FaceSetError, match=r"found hapyness \(for Happiness\?\), pose\."):
        listed("folder", numbered_folders(tmp_path, ["hapyness", "pose", "sad"]))


@pytest.mark.parametrize("suffix", [".JPG", ".jfif", ".gif", ".pgm", ".Png"])
def test_pictures_are_found_whatever_their_suffix(tmp_path: Path, suffix: str) -> None:
    from PIL import Image

    (tmp_path / "sad").mkdir()
    kind = {".jfif": "JPEG", ".JPG": "JPEG", ".gif": "GIF", ".pgm": "PPM", ".Png": "PNG"}[suffix]
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(tmp_path / "sad" / f"a{suffix}", kind)
    assert classes(listed("folder", tmp_path).train) == ["Sadness"]
