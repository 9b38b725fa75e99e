"""`affcli export`: submissions, label files and CSV, and back again."""

from __future__ import annotations

import functools
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.frame_tables import call, predictions, write_labels, write_ours
from hypothesis import given, settings
from hypothesis import strategies as st

from affcli.labels.reader import VideoLabels, read_labels
from affcli.schema import CLASSES
from affcli.tables.abaw_submission import HEADER, read_locations
from affcli.views.export import all_locations, fill, label_text


@pytest.fixture
def affcli(capsys):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    return functools.partial(call, capsys)


@pytest.fixture
def table(tmp_path):
    """Two videos; the second, of the left person, has no logits in its second frame, and starts at frame 1."""
    file = tmp_path / "F.parquet"
    predictions(a=[0, 1, 2], b_left=[3, None, 5, 7]).to_parquet(file)
    return file


def as_labels(**videos: list[int]) -> dict[str, VideoLabels]:
    return {name: VideoLabels(name, np.array(labels, np.int8)) for name, labels in videos.items()}


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_are_files_as_aff_wild2_has_them(tmp_path, affcli, table):
    assert affcli("export", table, "--to", "labels", "-o", tmp_path / "out") == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b_left.txt"]
    assert (tmp_path / "out" / "b_left.txt").read_bytes() == f"{','.join(CLASSES)}\n3\n-1\n5\n7\n".encode()


def test_exported_labels_are_read_back_and_score_one(tmp_path, affcli, table):
    affcli("export", table, "--to", "labels", "-o", tmp_path / "out")
    found = {name: one.labels.tolist() for name, one in read_labels(str(tmp_path / "out")).items()}
    assert found == {"a": [0, 1, 2], "b_left": [3, -1, 5, 7]}
    status, out, err = affcli("score", table, "--labels", tmp_path / "out", "--json")
    assert (status, json.loads(out)["accuracy"]) == (0, 1), err


def test_a_frame_without_a_row_is_not_annotated(tmp_path, affcli):
    predictions(a=[0, 1, 2, 3]).drop(index=[0, 2]).to_parquet(tmp_path / "F.parquet")
    affcli("export", tmp_path / "F.parquet", "--to", "labels", "-o", tmp_path / "out")
    assert read_labels(str(tmp_path / "out"))["a"].labels.tolist() == [-1, 1, -1, 3]


def test_labels_need_a_folder_that_is_free(tmp_path, affcli, table):
    assert affcli("export", table, "--to", "labels")[0] == 2
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    (tmp_path / "out" / "a.txt").write_text("old")
    status, _, err = affcli("export", table, "--to", "labels", "-o", tmp_path / "out")
    assert (status, err.count("\n")) == (1, 1)
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert affcli("export", table, "--to", "labels", "-o", tmp_path / "out", "--force")[0] == 0
    assert (tmp_path / "out" / "a.txt").read_text() == label_text(np.array([0, 1, 2]))
    assert (tmp_path / "out" / "notes").read_text() == "mine"


def test_a_folder_in_a_video_name_never_leads_out_of_the_output(tmp_path, affcli):
    for name in ("../../up", "s1/clip"):
        frames = predictions(a=[0]).assign(video=name)
        frames.to_parquet(tmp_path / "F.parquet")
        status, _, err = affcli("export", tmp_path / "F.parquet", "--to", "labels", "-o", tmp_path / "out")
        assert status == 1
        assert name in err
    assert not (tmp_path / "out").exists()


# --- submissions -----------------------------------------------------------------------------------------------------


def test_a_submission_has_every_frame_in_order(affcli, table):
    status, out, err = affcli("export", table, "--to", "abaw")
    assert status == 0
    frames = ["a/00001.jpg,0", "a/00002.jpg,1", "a/00003.jpg,2"]
    frames += ["b_left/00001.jpg,3", "b_left/00002.jpg,3", "b_left/00003.jpg,5", "b_left/00004.jpg,7"]
    assert out.splitlines() == [HEADER, *frames]
    assert "1 of 7 frames had no prediction and got that of the nearest frame" in err


SAMPLE = """\
b_left/00004.jpg,
b_left/00002.jpg,-1
a/00003.jpg
new_right/000010.png,0
a/00009.jpg,0
"""


@pytest.mark.parametrize("header", [HEADER, f'"{HEADER}"', f"\ufeff{HEADER}"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_like_keeps_the_sample_s_frames_order_and_spelling(tmp_path, affcli, table, header, end):
    sample = tmp_path / "sample.txt"
    sample.write_bytes(f"{header}\n{SAMPLE}".replace("\n", end).encode())
    status, out, err = affcli("export", table, "--to", "abaw", "--like", sample)
    assert status == 0
    filled = ["b_left/00004.jpg,7", "b_left/00002.jpg,3", "a/00003.jpg,2", "new_right/000010.png,0", "a/00009.jpg,2"]
    assert out.splitlines() == [HEADER, *filled]
    assert "2 of 5 frames had no prediction" in err
    assert "1 frame of videos without any prediction became Neutral: new_right." in err


@given(st.lists(st.integers(-1, 7), min_size=1, max_size=12))
def test_filling_takes_the_nearest_frame_and_of_two_the_earlier(labels):
    predictions_of = as_labels(v=labels)
    filled = fill(all_locations(predictions_of), predictions_of)
    known = [frame for frame, label in enumerate(labels) if label >= 0]
    nearest = [min(known, key=lambda k: (abs(k - frame), k), default=None) for frame in range(len(labels))]
    assert filled.numbers.tolist() == [0 if k is None else labels[k] for k in nearest]
    assert filled.nearest == (labels.count(-1) if known else 0)
    assert filled.neutral == (0 if known else len(labels))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b_left", "s1/c d"]), st.lists(st.integers(0, 7), min_size=1), min_size=1))
def test_a_submission_is_read_back_as_it_was(tmp_path_factory, videos):
    folder = tmp_path_factory.mktemp("export")
    predictions(**videos).to_parquet(folder / "F.parquet")
    from affcli.cli import run

    assert run(["export", str(folder / "F.parquet"), "--to", "abaw", "-o", str(folder / "s.txt"), "-q"]) == 0
    found = {name: one.labels.tolist() for name, one in read_labels(str(folder / "s.txt")).items()}
    assert found == videos


def test_a_submission_made_like_itself_is_itself(tmp_path, affcli, table):
    affcli("export", table, "--to", "abaw", "-o", tmp_path / "one.txt")
    status, out, err = affcli("export", tmp_path / "one.txt", "--to", "abaw", "--like", tmp_path / "one.txt")
    assert (status, err) == (0, "")
    assert out == (tmp_path / "one.txt").read_text()


def test_a_sample_that_is_none_is_named(tmp_path, affcli, table):
    (tmp_path / "sample.txt").write_text("a/00001.jpg\n")
    status, _, err = affcli("export", table, "--to", "abaw", "--like", tmp_path / "sample.txt")
    assert status == 1
    assert "not a sample list: the first line is 'a/00001.jpg'" in err
    (tmp_path / "sample.txt").write_text(f"{HEADER}\na/00001.jpg\noops\n")
    _, _, err = affcli("export", table, "--to", "abaw", "--like", tmp_path / "sample.txt")
    assert "line 3: 'oops' is not '<video>/00001.jpg'" in err
    assert affcli("export", table, "--to", "csv", "--like", tmp_path / "sample.txt")[0] == 2


def test_locations_keep_what_is_written(tmp_path):
    (tmp_path / "s.txt").write_text(f"{HEADER}\n\na/00002.jpg,5\nb/1.png\n")
    found = read_locations(tmp_path / "s.txt")
    assert found.text.to_pylist() == ["a/00002.jpg", "b/1.png"]
    assert (found.video.to_pylist(), found.frame.tolist()) == (["a", "b"], [2, 1])


# --- which prediction, and CSV ---------------------------------------------------------------------------------------


def test_the_prediction_is_the_one_that_score_takes(tmp_path, affcli):
    frames = predictions(a=[5, 5])
    ours = write_ours(tmp_path / "ours.parquet", frames, label=["Fear", "Other"])
    frames.assign(label=["Fear", "Other"]).to_parquet(tmp_path / "theirs.parquet")
    numbers = [
        [line[-1] for line in affcli("export", file, "--to", "abaw", *options)[1].splitlines()[1:]]
        for file, options in (
            (ours, []),
            (tmp_path / "theirs.parquet", []),
            (tmp_path / "theirs.parquet", ["--label-column", "label"]),
        )
    ]
    assert numbers == [["3", "7"], ["5", "5"], ["3", "7"]]


def test_csv_holds_every_column_and_scores_the_same(tmp_path, affcli):
    labels = write_labels(tmp_path / "labels", a=[0, 1, 4])
    ours = write_ours(tmp_path / "F.parquet", predictions(a=[0, 1, 2]), label=["Neutral", "Anger", "Disgust"])
    assert affcli("export", ours, "--to", "csv", "-o", tmp_path / "F.csv") == (0, "", "")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "F.csv"), pq.read_table(ours).to_pandas(), check_dtype=False)
    scores = [
        json.loads(affcli("score", tmp_path / name, "--labels", labels, "--json")[1]) for name in ("F.csv", "F.parquet")
    ]
    assert scores[0] == scores[1]


def test_a_submission_becomes_a_csv_of_labels(tmp_path, affcli):
    (tmp_path / "s.txt").write_text(f"{HEADER}\na/00001.jpg,3\na/00002.jpg,7\n")
    assert affcli("export", tmp_path / "s.txt", "--to", "csv")[1] == "video,frame,label\na,1,Fear\na,2,Other\n"


@pytest.mark.parametrize("form", ["abaw", "csv"])
def test_an_existing_output_is_kept_without_force(tmp_path, affcli, table, form):
    (tmp_path / "out").write_text("old")
    status, _, err = affcli("export", table, "--to", form, "-o", tmp_path / "out", "-q")
    assert (status, err.count("\n")) == (1, 1)
    assert (tmp_path / "out").read_text() == "old"
    assert affcli("export", table, "--to", form, "-o", tmp_path / "out", "-q", "-f") == (0, "", "")
    assert (tmp_path / "out").read_text().startswith(("image_location", "video"))


def test_windowed_logits_point_to_vote(tmp_path, affcli):
    pd.concat([predictions(a=[0]), predictions(a=[1])]).to_parquet(tmp_path / "W.parquet")
    status, _, err = affcli("export", tmp_path / "W.parquet", "--to", "abaw")
    assert status == 1
    assert "affcli vote" in err


# --- names and times that cannot be ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["vtt", "elan"])
def test_videos_that_would_share_a_file_are_refused(tmp_path, affcli, form):
    one = pd.DataFrame({"frame": [1, 2], "time_s": [0.0, 0.04], "A": [1.0, 2.0], "B": [0.0, 3.0]})
    table = pd.concat([one.assign(video=name) for name in ("a/b", "a//b", "a/./b")])
    table.to_parquet(tmp_path / "t.parquet")
    status, _, err = affcli("export", tmp_path / "t.parquet", "--to", form, "-o", tmp_path / "out")
    assert status == 1
    assert "would be one file, a/b." in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([0.0, np.inf], "time_s of frame 2 is inf, which is no time"),
        ([-np.inf, 0.0], "time_s of frame 1 is -inf, which is no time"),
        ([0.0, 1e300], "time_s of frame 2 is 1e+300, which is no time"),
        ([0.0, 0.0], "time_s is 0 in all 2 frames"),
    ],
)
@pytest.mark.parametrize("form", ["vtt", "elan", "segments"])
def test_times_that_are_none_are_named(tmp_path, affcli, times, said, form):
    columns = {"video": ["v", "v"], "frame": [1, 2], "time_s": times, "A": [1.0, 0.0], "B": [0.0, 1.0]}
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    status, out, err = affcli("export", tmp_path / "t.parquet", "--to", form, "-o", "-")
    assert (status, out) == (1, "")
    assert said in err


def test_a_sample_list_without_frames_or_in_another_encoding_is_named(tmp_path, affcli, table):
    for content, said in (
        (f"{HEADER}\n".encode(), "a header and no frames"),
        (HEADER.encode() + b"\n\xe9/1.jpg,\n", "UTF-8"),
    ):
        (tmp_path / "s.txt").write_bytes(content)
        status, _, err = affcli("export", table, "--to", "abaw", "--like", tmp_path / "s.txt", "-o", tmp_path / "o.txt")
        assert status == 1
        assert f"{tmp_path / 's.txt'}: " in err
        assert said in err
