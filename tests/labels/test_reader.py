"""Labels: whatever form they come in, entry i of a video's array is the class number of frame i + 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affcli.errors import AffcliError, LabelError
from affcli.labels.reader import LabelOptions, read_labels
from affcli.schema import CLASSES

HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


def labels_of(source: Path) -> dict[str, list[int]]:
    return {name: video.labels.tolist() for name, video in read_labels(str(source)).items()}


def complaint(source: Path) -> str:
    with pytest.raises(AffcliError) as caught:
        read_labels(str(source))
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- Aff-Wild2's text files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n0\n-1\n7\n",
        f"{HEADER}\n0\n-1\n7",
        f"{HEADER}\r\n0\r\n-1\r\n7\r\n",
        f"{HEADER}\n0\n-1\n7\n\n",
        f"{HEADER}\r\n0\r\n-1\r\n7\r\n\r\n \n",
        f'"{HEADER}"\n0\n-1\n7\n',
        '"' + HEADER.replace(",", '","') + '"\n"0"\n"-1"\n"7"\n',
        f"{HEADER.replace(',', ', ')}\n 0\n-1 \n\t7\n",
        f"\ufeff{HEADER}\n0\n-1\n7\n",
        f"{HEADER.lower()}\n0\n-1\n7\n",
    ],
    ids=[
        "plain",
        "no-last-newline",
        "crlf",
        "blank-end",
        "crlf-blank-ends",
        "quoted",
        "all-quoted",
        "spaces",
        "bom",
        "case",
    ],
)
def test_every_way_of_writing_a_label_file_reads_the_same(tmp_path, text):
    file = tmp_path / "clip.txt"
    file.write_bytes(text.encode())
    assert labels_of(file) == {"clip": [0, -1, 7]}
    assert labels_of(tmp_path) == {"clip": [0, -1, 7]}


@settings(deadline=None)
@given(st.lists(st.integers(-1, 7), max_size=50))
def test_any_label_file_comes_back_line_by_line(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("labels")
    (folder / "v.txt").write_text("\n".join([HEADER, *map(str, labels)]) + "\n")
    assert labels_of(folder) == {"v": labels}


def test_a_folder_gives_every_video_and_keeps_left_and_right(tmp_path):
    for name in ("b_right", "b_left", "a"):
        (tmp_path / f"{name}.txt").write_text(f"{HEADER}\n3\n")
    (tmp_path / ".DS_Store").write_bytes(b"\0\1")
    (tmp_path / "._a.txt").write_bytes(b"\0\5\x16\7")
    assert list(read_labels(str(tmp_path))) == ["a", "b_left", "b_right"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("8", "'8'"),
        ("-2", "'-2'"),
        ("1.5", "'1.5'"),
        ("Anger", "'Anger'"),
        ("", "a blank line"),
        ("10", "'10'"),
        ("/", "'/'"),
    ],
)
def test_a_line_that_is_no_class_number_is_named_with_file_and_line(tmp_path, line, shown):
    file = tmp_path / "clip.txt"
    file.write_text(f"{HEADER}\n0\n-1\n{line}\n5\n")
    assert complaint(tmp_path) == f"{file}, line 4: {shown} where a class number from -1 to 7 should stand."


def test_the_header_says_which_class_a_number_is(tmp_path):
    (tmp_path / "clip.txt").write_text(",".join(sorted(CLASSES)) + "\n0\n-1\n4\n")
    assert labels_of(tmp_path) == labels_of(tmp_path / "clip.txt") == {"clip": [1, -1, 0]}


@pytest.mark.parametrize("header", ["Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise", "valence,arousal"])
def test_a_label_file_of_other_classes_gets_the_same_line_as_its_folder(tmp_path, header):
    (tmp_path / "clip.txt").write_text(f"{header}\n1\n")
    assert complaint(tmp_path) == complaint(tmp_path / "clip.txt")
    assert f"not an EXPR label file: the first line is '{header}'" in complaint(tmp_path)


def test_labels_of_another_challenge_are_refused_by_their_header(tmp_path):
    (tmp_path / "clip.txt").write_text("valence,arousal\n0.1,0.2\n")
    assert "the first line is 'valence,arousal'" in complaint(tmp_path)


def test_the_parent_of_label_folders_names_them(tmp_path):
    for part in ("Train_Set", "Validation_Set"):
        folder = tmp_path / "EXPR_Recognition_Challenge" / part
        folder.mkdir(parents=True)
        (folder / "clip.txt").write_text(f"{HEADER}\n0\n")
    text = complaint(tmp_path)
    assert f"did you mean {folder.parent / 'Train_Set'}, {folder}?" in text


def test_a_folder_without_labels_says_what_was_found(tmp_path):
    (tmp_path / "clip.mp4").touch()
    assert complaint(tmp_path).endswith("no label files (one .txt per video) in it; found clip.mp4.")


def test_a_missing_folder_and_an_empty_file_are_named(tmp_path):
    assert complaint(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: No such file or directory."
    (tmp_path / "clip.txt").touch()
    assert "the first line is ''" in complaint(tmp_path)
    assert "empty" in complaint(tmp_path / "clip.txt")


# --- tables ----------------------------------------------------------------------------------------------------------


ROWS = pd.DataFrame({"video": ["b", "a", "a"], "frame": [2, 3, 1], "label": ["Fear", "Other", "Neutral"]})
EXPECTED = {"a": [0, -1, 7], "b": [-1, 3]}


@pytest.mark.parametrize(
    "label",
    [
        ["Fear", "Other", "Neutral"],
        ["fear", "OTHER", " neutral"],
        [3, 7, 0],
        np.array([3, 7, 0], np.uint8),
        [3.0, 7.0, 0.0],
        pd.Categorical(["Fear", "Other", "Neutral"]),
    ],
    ids=["names", "any-case", "int64", "uint8", "float", "dictionary"],
)
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_table_of_labels_may_hold_names_or_numbers_in_any_order(tmp_path, label, suffix):
    file = tmp_path / f"labels.{suffix}"
    table = ROWS.assign(label=label)
    table.to_parquet(file) if suffix == "parquet" else table.to_csv(file, index=False)
    assert labels_of(file) == EXPECTED


@pytest.mark.parametrize("empty", [None, -1, float("nan")])
def test_null_and_minus_one_are_not_annotated(tmp_path, empty):
    ROWS.assign(label=[3, 7, empty]).to_parquet(tmp_path / "l.parquet")
    assert labels_of(tmp_path / "l.parquet") == {"a": [-1, -1, 7], "b": [-1, 3]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": [3, 9, 0]}, "column 'label' holds 9, not a class number from -1 to 7"),
        ({"label": [3, 0.5, 0]}, "holds 0.5, not a class number"),
        ({"label": ["Fear", "Pride", "Other"]}, "holds 'pride', none of the classes Neutral, Anger"),
        ({"frame": [2, 0, 1]}, "frame 0 in labels; frames are numbered from 1"),
        ({"frame": [2.5, 3, 1]}, "column 'frame' holds double, not whole numbers"),
        ({"frame": [2, 1, 1]}, "video 'a', frame 1 has more than one label"),
        ({"frame": [2, 3, 1_700_000_000]}, "must hold frame numbers"),
    ],
)
def test_what_cannot_be_a_label_is_named(tmp_path, change, words):
    ROWS.assign(**change).to_parquet(tmp_path / "l.parquet")
    assert words in complaint(tmp_path / "l.parquet")


def test_a_table_without_labels_says_which_columns_it_has(tmp_path):
    ROWS.rename(columns={"label": "emotion"}).to_csv(tmp_path / "l.csv", index=False)
    assert complaint(tmp_path / "l.csv").endswith("has no column 'label' (columns: emotion, video, frame).")


# --- submissions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", [f"image_location,{HEADER}", f'"image_location,{HEADER}"', f"\ufeffimage_location,{HEADER}"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_submission_text_is_read_by_video_and_frame(tmp_path, header, end):
    file = tmp_path / "predictions.txt"
    lines = [header, "b/00002.jpg,3", "a/00001.jpg,0", "a/00003.jpg,7"]
    file.write_bytes(end.join([*lines, ""]).encode())
    assert labels_of(file) == EXPECTED


def test_a_submission_keeps_folders_in_video_names(tmp_path):
    file = tmp_path / "predictions.txt"
    file.write_text(f"image_location,{HEADER}\ns1/clip one/00001.jpg,0\n123/100000.png,-1\n123/2.jpg,1\n")
    found = labels_of(file)
    assert found["s1/clip one"] == [0]
    assert found["123"][:2] == [-1, 1]
    assert len(found["123"]) == 100_000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a/00001.jpg,8", "line 3: '8' is not a class number from -1 to 7"),
        ("a/00001.jpg,Fear", "line 3: 'Fear' is not a class number"),
        ("00001.jpg,1", "line 3: '00001.jpg' is not '<video>/00001.jpg'"),
        ("a/first.jpg,1", "line 3: 'a/first.jpg' is not '<video>/00001.jpg'"),
        ("a/00001.jpg", "Expected 2 columns, got 1"),
    ],
)
def test_a_bad_line_of_a_submission_is_named(tmp_path, line, words):
    file = tmp_path / "predictions.txt"
    file.write_text(f"image_location,{HEADER}\na/00002.jpg,3\n{line}\n")
    assert words in complaint(file)


def test_a_submission_without_frames_is_refused(tmp_path):
    (tmp_path / "p.txt").write_text(f"image_location,{HEADER}\n")
    assert "no frames" in complaint(tmp_path / "p.txt")


# --- labels as tolerant as predictions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"frame": ["00002", "00003", "00001"]},
        {"frame": [2.0, 3.0, 1.0]},
        {"frame": ["2.0", "3.0", "1"]},
        {"label": ["3.0", "7", "0.0"]},
        {"label": ["fearful", "contempt", "neutrality"]},
    ],
)
def test_labels_are_read_however_tools_write_them(tmp_path, changes):
    ROWS.assign(**changes).to_csv(tmp_path / "l.csv", index=False)
    assert labels_of(tmp_path / "l.csv") == EXPECTED
    ROWS.assign(**changes).to_parquet(tmp_path / "l.parquet")
    assert labels_of(tmp_path / "l.parquet") == EXPECTED


@pytest.mark.parametrize("missing", ["NA", "", "nan", "None", "-1"])
def test_what_people_write_for_no_label_is_none(tmp_path, missing):
    ROWS.assign(label=["Fear", missing, "Neutral"]).to_csv(tmp_path / "l.csv", index=False)
    assert labels_of(tmp_path / "l.csv") == {"a": [0, -1, -1], "b": [-1, 3]}


def test_rows_without_a_frame_are_left_out(tmp_path):
    ROWS.assign(frame=["2", "NA", "1"]).to_csv(tmp_path / "l.csv", index=False)
    assert labels_of(tmp_path / "l.csv") == {"a": [0], "b": [-1, 3]}


def test_frames_that_count_from_0_are_moved(tmp_path):
    options = LabelOptions(frame_offset=1)
    ROWS.assign(frame=ROWS["frame"] - 1).to_csv(tmp_path / "l.csv", index=False)
    assert "--label-frame-offset 1" in complaint(tmp_path / "l.csv")
    found = read_labels(str(tmp_path / "l.csv"), options)
    assert {name: one.labels.tolist() for name, one in found.items()} == EXPECTED
    (tmp_path / "clip.txt").write_text(f"{HEADER}\n3\n4\n")
    assert read_labels(str(tmp_path / "clip.txt"), options)["clip"].labels.tolist() == [-1, 3, 4]
    with pytest.raises(LabelError, match="before frame 1"):
        read_labels(str(tmp_path / "clip.txt"), LabelOptions(frame_offset=-1))


def test_a_table_with_a_byte_order_mark_is_read(tmp_path):
    text = ROWS.to_csv(index=False)
    (tmp_path / "l.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert labels_of(tmp_path / "l.csv") == EXPECTED
