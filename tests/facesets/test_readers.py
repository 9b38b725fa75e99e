"""Readers of face sets: every layout, what is left out, and what is said of a folder that holds something else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.face_sets import (
    fer2013_text,
    ferplus_pictures,
    ferplus_votes,
    junk,
    numbered_folders,
    picture,
    rafdb_list,
)

from affcli.console.printing import as_text
from affcli.errors import AffcliError, UsageError
from affcli.facesets.listing import Labelled
from affcli.facesets.readers.ferplus import soft_label
from affcli.facesets.static import held_out_rows, list_static
from affcli.schema import CLASSES

NAMES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


def found(labelled: Labelled) -> dict[str, str]:
    """The class of each picture, by the last two parts of its path."""
    names = ["/".join(Path(origin.path).parts[-2:]) for origin in labelled.origins]
    return dict(zip(names, (CLASSES[label] for label in labelled.labels), strict=True))


def votes(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in NAMES]


# --- RAF-DB ----------------------------------------------------------------------------------------------------------

RAFDB = {
    **{f"train_{label:05d}.jpg": label for label in range(1, 8)},
    **{f"test_{label:04d}.jpg": label for label in range(7, 0, -1)},
}
RAFDB_CLASSES = ["Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral"]


@pytest.mark.parametrize("given", [".", "basic", ".."])
def test_rafdb_as_a_list_its_folder_or_the_one_above(given: str, tmp_path: Path) -> None:
    top = rafdb_list(tmp_path / "rafdb" / "RAF-DB", RAFDB)
    listing = list_static([("rafdb", top / given)])
    assert found(listing.train) == {
        f"aligned/train_{label:05d}_aligned.jpg": name for label, name in enumerate(RAFDB_CLASSES, start=1)
    }
    assert list(found(listing.held_out).values()) == RAFDB_CLASSES[::-1]
    assert not len(listing.unused)


def test_rafdb_as_folders_with_parts(tmp_path: Path) -> None:
    for part, each in (("train", 2), ("test", 1)):
        numbered_folders(tmp_path / "DATASET" / part, range(1, 8), each=each)
    junk(tmp_path / "DATASET" / "train" / "1")
    junk(tmp_path / "DATASET")
    listing = list_static([("rafdb", tmp_path)])
    assert found(listing.held_out) == {f"{n}/0.png": name for n, name in enumerate(RAFDB_CLASSES, start=1)}
    assert len(listing.train) == 14


def test_rafdb_as_folders_whose_pictures_names_tell_the_part(tmp_path: Path) -> None:
    for label in range(1, 8):
        picture(tmp_path / str(label) / f"train_{label}_aligned.jpg")
        picture(tmp_path / str(label) / f"test_{label}_aligned.jpg")
    listing = list_static([("rafdb", tmp_path)])
    assert list(found(listing.train).values()) == list(found(listing.held_out).values()) == RAFDB_CLASSES
    assert all("/test_" in name for name in found(listing.held_out))


def test_rafdb_pictures_that_are_not_there_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rafdb_list(tmp_path, RAFDB)
    (tmp_path / "basic/Image/aligned/train_00003_aligned.jpg").unlink()
    assert len(list_static([("rafdb", tmp_path)]).train) == 6
    assert caplog.messages == ["rafdb: 1 picture left out: 1 that have a label are not there."]


def test_rafdb_a_wrong_label_is_named_with_its_line(tmp_path: Path) -> None:
    rafdb_list(tmp_path, {"train_00001.jpg": 1, "train_00002.jpg": 8})
    with pytest.raises(AffcliError, match=r"list_patition_label.txt, line 2: 'train_00002.jpg 8', not a name and"):
        list_static([("rafdb", tmp_path)])


# --- FERPlus ---------------------------------------------------------------------------------------------------------


def test_votes_are_shares_of_the_eight_classes() -> None:
    label = soft_label(dict(zip(map(str.lower, NAMES), votes(neutral=4, sadness=1, anger=3, disgust=2), strict=True)))
    assert label is not None
    np.testing.assert_allclose(label, [0.4, 0.3, 0.2, 0, 0, 0.1, 0, 0], rtol=1e-6)


def test_contempt_is_other_and_unknown_has_no_share() -> None:
    label = soft_label(dict(zip(map(str.lower, NAMES), votes(contempt=6, happiness=2, unknown=1, NF=1), strict=True)))
    assert label is not None
    np.testing.assert_allclose(label, [0, 0, 0, 0, 0.25, 0, 0, 0.75])


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ({"unknown": 5, "anger": 4}, False),
        ({"NF": 10}, False),
        ({"unknown": 4, "anger": 4, "fear": 2}, True),  # a tie: a class is among the winners
        ({"unknown": 3, "NF": 3, "anger": 4}, True),
        ({}, False),
    ],
)
def test_a_picture_goes_where_no_class_is_among_the_winners(counts: dict[str, int], kept: bool) -> None:
    label = soft_label(dict(zip(map(str.lower, NAMES), votes(**counts), strict=True)))
    assert (label is not None) is kept


FERPLUS = [
    ("Training", "fer0000000.png", votes(neutral=10)),
    ("Training", "", votes(anger=10)),
    ("Training", "fer0000002.png", votes(happiness=7, unknown=3)),
    ("PublicTest", "fer0000003.png", votes(fear=10)),
    ("PublicTest", "fer0000004.png", votes(NF=6, fear=4)),
    ("PrivateTest", "fer0000005.png", votes(surprise=10)),
]


@pytest.mark.parametrize("given", [".", ".."])
def test_ferplus_as_pictures(given: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    top = ferplus_pictures(tmp_path / "data" / "ferplus", FERPLUS)
    junk(top / "FER2013Train")
    listing = list_static([("ferplus", top / given)])
    assert found(listing.train) == {
        "FER2013Train/fer0000000.png": "Neutral",
        "FER2013Train/fer0000002.png": "Happiness",
    }
    assert found(listing.held_out) == {"FER2013Valid/fer0000003.png": "Fear"}
    assert found(listing.unused) == {"FER2013Test/fer0000005.png": "Surprise"}
    reasons = "1 without a name, 1 where unknown or not-a-face has the most votes"
    assert caplog.messages == [f"ferplus: 2 pictures left out: {reasons}."]


def test_ferplus_without_its_test_part_as_it_is_often_found(tmp_path: Path) -> None:
    top = ferplus_pictures(tmp_path, FERPLUS)
    (top / "FER2013Test/fer0000005.png").unlink()
    (top / "FER2013Test").rmdir()
    assert len(list_static([("ferplus", top)]).unused) == 0


def test_ferplus_as_text_row_by_row(tmp_path: Path) -> None:
    ferplus_votes(tmp_path, FERPLUS)
    pixels = [np.random.default_rng(row).integers(0, 256, (48, 48)) for row in range(6)]
    text = fer2013_text(tmp_path / "fer2013.csv", [(row[0], one) for row, one in zip(FERPLUS, pixels, strict=True)])
    listing = list_static([("ferplus", tmp_path)])
    assert [len(part) for part in (listing.train, listing.held_out, listing.unused)] == [2, 1, 1]
    span = listing.train.origins[1].span
    assert span is not None
    stored = text.read_bytes()[span[0] : span[0] + span[1]]
    assert stored.decode() == " ".join(map(str, pixels[2].ravel()))


def test_ferplus_text_of_other_rows_is_refused(tmp_path: Path) -> None:
    ferplus_votes(tmp_path, FERPLUS)
    black = np.zeros((48, 48), int)
    fer2013_text(tmp_path / "fer2013.csv", [("Training", black)] * 2)
    with pytest.raises(AffcliError, match=r"6 rows, .*fer2013.csv 2: they must be of the same pictures, row by row"):
        list_static([("ferplus", tmp_path)])
    fer2013_text(tmp_path / "fer2013.csv", [("Training", black)] * 6)
    with pytest.raises(AffcliError, match=r"row 5: is 'training', but 'PublicTest' in"):
        list_static([("ferplus", tmp_path)])


def test_ferplus_with_a_column_missing_or_a_vote_that_is_none(tmp_path: Path) -> None:
    ferplus_pictures(tmp_path, FERPLUS)
    text = (tmp_path / "fer2013new.csv").read_text()
    (tmp_path / "fer2013new.csv").write_text(text.replace("contempt", "scorn"))
    with pytest.raises(AffcliError, match=r"has no column contempt \(columns: usage, .*scorn"):
        list_static([("ferplus", tmp_path)])
    (tmp_path / "fer2013new.csv").write_text(text.replace("fer0000000.png,10", "fer0000000.png,ten"))
    with pytest.raises(AffcliError, match=r"fer2013new.csv, row 2: does not hold a usage .*'ten'"):
        list_static([("ferplus", tmp_path)])


# --- AffectNet -------------------------------------------------------------------------------------------------------

AFFECTNET = ["Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Other"]
COLUMNS = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


@pytest.mark.parametrize("header", [True, False])
def test_affectnet_as_lists_the_second_perhaps_without_a_header(header: bool, tmp_path: Path) -> None:
    lines = [f"{n}/a.jpg,1,2,3,4,1;2,{n},0.5,0.5" for n in range(11)]
    for number in range(11):
        picture(tmp_path / "Manually_Annotated/Manually_Annotated_Images" / f"{number}/a.jpg")
    lists = tmp_path / "Manually_Annotated_file_lists"
    lists.mkdir()
    (lists / "training.csv").write_text("\n".join([COLUMNS, *lines]))
    (lists / "validation.csv").write_text("\n".join([COLUMNS, *lines] if header else lines))
    listing = list_static([("affectnet", tmp_path)])
    for part in (listing.train, listing.held_out):
        assert found(part) == {f"{n}/a.jpg": name for n, name in enumerate(AFFECTNET)}
    assert listing.train.origins[0].box == (1, 2, 3, 4)


@pytest.mark.parametrize("top", ["", "AffectNet/"])
def test_affectnet_as_folders(top: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("train", "val"):
        numbered_folders(tmp_path / top / part, range(9))
    listing = list_static([("affectnet", tmp_path)])
    assert list(found(listing.train).values()) == list(found(listing.held_out).values()) == AFFECTNET
    assert caplog.messages == ["affectnet: 2 pictures left out: 2 of class 8."]


def test_affectnet_as_annotations(tmp_path: Path) -> None:
    for part in ("train_set", "val_set"):
        for number in range(9):
            picture(tmp_path / part / "images" / f"{number}.jpg")
            (tmp_path / part / "annotations").mkdir(exist_ok=True)
            np.save(tmp_path / part / "annotations" / f"{number}_exp.npy", np.array(str(number)))
            np.save(tmp_path / part / "annotations" / f"{number}_val.npy", np.array("0.5"))
    listing = list_static([("affectnet", tmp_path)])
    for part in (listing.train, listing.held_out):
        assert found(part) == {f"images/{n}.jpg": name for n, name in enumerate(AFFECTNET)}


def test_affectnet_annotations_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.jpg")
    (tmp_path / "annotations").mkdir()
    np.save(tmp_path / "annotations" / "1_exp.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(AffcliError, match=r"1_exp.npy: not an annotation of one expression"):
        list_static([("affectnet", tmp_path)])


def test_affectnet_lists_whose_pictures_are_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text(f"{COLUMNS}\n1/a.jpg,1,2,3,4,1;2,0,0,0\n")
    with pytest.raises(AffcliError, match=r"training.csv: looked for 1/a.jpg in every folder of .*: not there"):
        list_static([("affectnet", tmp_path)])
    (tmp_path / "training.csv").write_text("name,score\na,1\n")
    with pytest.raises(AffcliError, match=r"training.csv: has no column 'expression' \(columns: name, score\)"):
        list_static([("affectnet", tmp_path)])


# --- folders named by class ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [("train", "valid", "test"), ("Training", "Test")])
def test_folders_named_by_class_in_parts(parts: tuple[str, ...], tmp_path: Path) -> None:
    for part in parts:
        numbered_folders(tmp_path / part, ["Neutral", "anger", "HAPPY", "contempt"])
    listing = list_static([("folder", tmp_path)])
    expected = {
        "Neutral/0.png": "Neutral",
        "anger/0.png": "Anger",
        "HAPPY/0.png": "Happiness",
        "contempt/0.png": "Other",
    }
    assert found(listing.train) == found(listing.held_out) == expected
    assert len(listing.unused) == (4 if len(parts) == 3 else 0)


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    numbered_folders(tmp_path, ["Neutral", "Boredom"])
    with pytest.raises(
        AffcliError, match=r"looked for one folder for each class, named Neutral, Anger, .*; found Boredom\."
    ):
        list_static([("folder", tmp_path)])


# --- what is held out ------------------------------------------------------------------------------------------------


def test_without_a_split_the_same_fraction_of_every_class_is_held_out(tmp_path: Path) -> None:
    numbered_folders(tmp_path, ["Neutral"], each=20)
    numbered_folders(tmp_path, ["Anger", "Fear"], each=2)
    listing = list_static([("folder", tmp_path)], holdout=0.25, seed=3)
    counts = [np.bincount(part.labels, minlength=8).tolist() for part in (listing.train, listing.held_out)]
    assert counts == [[15, 1, 0, 1, 0, 0, 0, 0], [5, 1, 0, 1, 0, 0, 0, 0]]
    assert not {o.path for o in listing.train.origins} & {o.path for o in listing.held_out.origins}
    again, other = (list_static([("folder", tmp_path)], holdout=0.25, seed=seed) for seed in (3, 4))
    assert again.held_out.origins == listing.held_out.origins
    assert other.held_out.origins != listing.held_out.origins
    assert len(list_static([("folder", tmp_path)], holdout=0).held_out) == 0


def test_a_class_with_one_picture_is_not_held_out() -> None:
    assert held_out_rows(np.array([3]), 0.9, seed=0).tolist() == [False]


# --- several sets ----------------------------------------------------------------------------------------------------


def test_the_table_counts_each_set_part_and_class(tmp_path: Path) -> None:
    ferplus_pictures(tmp_path / "a", FERPLUS)
    numbered_folders(tmp_path / "b" / "train", ["Neutral", "Anger"], each=2)
    numbered_folders(tmp_path / "b" / "val", ["Anger"])
    listing = list_static([("ferplus", tmp_path / "a"), ("folder", tmp_path / "b"), ("folder", tmp_path / "b")])
    rows = {row[0]: row[1:] for row in listing.table().rows}
    assert rows == {
        "ferplus, train": ("1", "0", "0", "0", "1", "0", "0", "0", "2"),
        "ferplus, held out": ("0", "0", "0", "1", "0", "0", "0", "0", "1"),
        "ferplus, not used": ("0", "0", "0", "0", "0", "0", "1", "0", "1"),
        "folder, train": ("2", "2", "0", "0", "0", "0", "0", "0", "4"),
        "folder, held out": ("0", "1", "0", "0", "0", "0", "0", "0", "1"),
        "folder-2, train": ("2", "2", "0", "0", "0", "0", "0", "0", "4"),
        "folder-2, held out": ("0", "1", "0", "0", "0", "0", "0", "0", "1"),
        "all, train": ("5", "4", "0", "0", "1", "0", "0", "0", "10"),
        "all, held out": ("0", "2", "0", "1", "0", "0", "0", "0", "3"),
        "all, not used": ("0", "0", "0", "0", "0", "0", "1", "0", "1"),
    }
    assert max(map(len, as_text([listing.table()]).splitlines())) <= 100


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "looked_for"),
    [
        ("rafdb", r"EmoLabel/list_patition_label.txt beside Image/aligned/, or folders 1 to 7"),
        ("ferplus", r"fer2013new.csv, with the folders FER2013Train"),
        ("affectnet", r"training.csv, or folders images/ and annotations/, or folders 0 to 7"),
        ("folder", r"one folder for each class, named Neutral"),
    ],
)
def test_a_folder_that_holds_something_else(kind: str, looked_for: str, tmp_path: Path) -> None:
    (tmp_path / "papers" / "drafts").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(AffcliError, match=rf"--data {kind}=.*: looked for {looked_for}.*; found ") as caught:
        list_static([(kind, tmp_path)])
    assert "\n" not in str(caught.value)
    if kind != "folder":
        assert "found papers/, notes.txt." in str(caught.value)


def test_no_folder_a_file_and_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "ferplus.tar").write_bytes(b"")
    with pytest.raises(AffcliError, match=r"--data ferplus=.*ferplus.tar: is a file; unpack it"):
        list_static([("ferplus", tmp_path / "ferplus.tar")])
    with pytest.raises(AffcliError, match=r"--data ferplus=.*nowhere: no such folder"):
        list_static([("ferplus", tmp_path / "nowhere")])
    with pytest.raises(
        UsageError, match=r"'rafd' is no kind of face set; known are rafdb, ferplus, affectnet, fer2013, expw, parquet"
    ):
        list_static([("rafd", tmp_path)])


def test_labels_without_a_single_picture_say_where_one_was_looked_for(tmp_path: Path) -> None:
    ferplus_votes(tmp_path / "votes", FERPLUS)
    for part in ("FER2013Train", "FER2013Valid"):
        (tmp_path / "votes" / part).mkdir()
    shutil.rmtree(rafdb_list(tmp_path / "list", {"train_00001.jpg": 5}) / "basic/Image/aligned")
    (tmp_path / "list/basic/Image/aligned").mkdir()
    (tmp_path / "classes" / "Anger").mkdir(parents=True)
    annotated = tmp_path / "annotated"
    (annotated / "annotations").mkdir(parents=True)
    (annotated / "images").mkdir()
    np.save(annotated / "annotations/3_exp.npy", np.array("6"))
    for kind, folder, looked_for in (
        ("ferplus", "votes", f"FER2013Train/{FERPLUS[0][1]} and others that have labels"),
        ("rafdb", "list", "aligned/train_00001_aligned.jpg and others"),
        ("affectnet", "annotated", "images/3.jpg and others"),
        ("folder", "classes", "pictures of its classes"),
    ):
        with pytest.raises(AffcliError, match=rf"--data {kind}=.*: looked for .*{looked_for}.*; found none\."):
            list_static([(kind, tmp_path / folder)])


def test_ferpluss_own_repository_has_the_folders_and_not_the_pictures(tmp_path: Path) -> None:
    rows = [("Training", "fer0000000.png", [10, *[0] * 9]), ("PublicTest", "fer0000001.png", [0, 10, *[0] * 8])]
    ferplus_votes(tmp_path, rows)
    for part in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        (tmp_path / "data" / part).mkdir(parents=True)
        (tmp_path / "data" / part / "label.csv").write_text("fer0000000.png")
    fer2013_text(tmp_path / "fer2013.csv", [(usage, np.zeros((48, 48), int)) for usage, *_ in rows])
    listing = list_static([("ferplus", tmp_path)])
    assert (listing.train.labels.tolist(), listing.held_out.labels.tolist()) == ([0], [4])
    assert listing.train.origins[0].span is not None


@pytest.mark.parametrize("top", ["", "train"])
@pytest.mark.parametrize(("kind", "numbers", "other"), [("rafdb", range(8), "0"), ("affectnet", range(12), "11")])
def test_folders_with_another_sets_numbers_are_refused(
    kind: str, numbers: range, other: str, top: str, tmp_path: Path
) -> None:
    numbered_folders(tmp_path / top, numbers)
    with pytest.raises(AffcliError, match=rf"looked for folders \d to \d+ only; found {other} too: another set\?"):
        list_static([(kind, tmp_path)])


def test_listing_needs_no_torch() -> None:
    code = "import sys, affcli.facesets.static, affcli.facesets.domain; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
