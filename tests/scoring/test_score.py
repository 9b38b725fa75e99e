"""`affcli score`: the joins, the rules of ABAW, and what it says and prints."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.frame_tables import call, predictions, write_labels, write_ours
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from affcli.cli import run
from affcli.labels.matching import matching_rows
from affcli.schema import CLASSES

CONTRACT = [
    *("version", "frames", "videos", "classes_present", "coverage", "accuracy", "macro_f1"),
    *("macro_f1_ci", "accuracy_ci", "per_class", "confusion", "named", "named_accuracy"),
]


@pytest.fixture
def affcli(capsys):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    return functools.partial(call, capsys)


@pytest.fixture
def scored(affcli):
    """The JSON object of `affcli score`, which must have succeeded."""

    def run_score(*arguments: object) -> dict:
        status, out, err = affcli("score", *arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    return run_score


@pytest.fixture
def refused(affcli):
    """The one line that a failing `affcli score` prints."""

    def run_score(*arguments: object, status: int = 1) -> str:
        found, out, err = affcli("score", *arguments)
        assert (found, out) == (status, "")
        assert err.count("\n") == 1
        assert err.startswith("affcli score: ")
        return err

    return run_score


# --- joining frames --------------------------------------------------------------------------------------------------


def test_frames_are_joined_by_number_whatever_their_order(tmp_path, scored):
    labels = write_labels(tmp_path / "labels", a=[0, -1, 2], b=[3])
    table = predictions(a=[0, 5, 1], b=[3]).sample(frac=1, random_state=0)
    table.to_csv(tmp_path / "p.csv", index=False)
    found = scored(tmp_path / "p.csv", "--labels", labels)
    assert found["confusion"][0][0] == found["confusion"][2][1] == found["confusion"][3][3] == 1
    assert (found["frames"], found["videos"], found["accuracy"], found["coverage"]) == (3, 2, 2 / 3, 1)


@pytest.mark.parametrize("extra", [1, 2])
def test_up_to_two_label_lines_past_the_end_take_the_last_prediction(tmp_path, scored, extra):
    labels = write_labels(tmp_path / "labels", a=[0, 1] + [6] * extra)
    predictions(a=[0, 6]).to_parquet(tmp_path / "p.parquet")
    found = scored(tmp_path / "p.parquet", "--labels", labels)
    assert found["confusion"][6][6] == extra
    assert found["coverage"] == 1


def test_a_third_label_line_past_the_end_is_an_error(tmp_path, refused):
    labels = write_labels(tmp_path / "labels", a=[0, 0, 0, 0, 0])
    predictions(a=[0, 0]).to_parquet(tmp_path / "p.parquet")
    assert "in 1 video: a (frame 5)" in refused(tmp_path / "p.parquet", "--labels", labels)


def test_borrowed_lines_also_borrow_the_face(tmp_path, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 0, 0], b=[1, 1, 1])
    table = predictions(a=[0, 0], b=[1, 1]).assign(face=[True, False, True, True])
    table.to_parquet(tmp_path / "p.parquet")
    found = scored(tmp_path / "p.parquet", "--labels", labels, "--faces-only")
    assert [found["confusion"][i][i] for i in (0, 1)] == [1, 3]


def test_a_labelled_frame_in_a_gap_is_an_error_that_names_the_video(tmp_path, refused, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 0, 0, 0], b=[1])
    table = predictions(a=[0, 0, 0, 0], b=[1]).drop(index=[1, 2])
    table.to_parquet(tmp_path / "p.parquet")
    text = refused(tmp_path / "p.parquet", "--labels", labels)
    assert "a (2 frames from 2)" in text
    assert "--allow-missing" in text
    found = scored(tmp_path / "p.parquet", "--labels", labels, "--allow-missing")
    assert (found["frames"], found["coverage"]) == (3, 3 / 5)


def test_frames_with_null_logits_count_as_without_prediction(tmp_path, refused, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 0, 0])
    predictions(a=[0, None, 0]).to_parquet(tmp_path / "p.parquet")
    assert "a (frame 2)" in refused(tmp_path / "p.parquet", "--labels", labels)
    assert scored(tmp_path / "p.parquet", "--labels", labels, "--allow-missing")["coverage"] == 2 / 3


def test_a_frame_with_null_logits_at_the_end_does_not_take_the_prediction_before_it(tmp_path, refused, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 0, 0, 0])
    predictions(a=[0, 0, None]).to_parquet(tmp_path / "p.parquet")
    assert "a (2 frames from 3)" in refused(tmp_path / "p.parquet", "--labels", labels)
    assert scored(tmp_path / "p.parquet", "--labels", labels, "--allow-missing")["coverage"] == 2 / 4


def test_a_labelled_video_without_any_prediction_is_an_error(tmp_path, refused, scored):
    labels = write_labels(tmp_path / "labels", a=[0], gone=[-1, 2, 2], unjudged=[-1, -1])
    predictions(a=[0]).to_parquet(tmp_path / "p.parquet")
    assert "in 1 video: gone (2 frames from 2)" in refused(tmp_path / "p.parquet", "--labels", labels)
    assert scored(tmp_path / "p.parquet", "--labels", labels, "--allow-missing")["coverage"] == 1 / 3


def test_predictions_without_labels_are_ignored_with_a_note(tmp_path, affcli):
    labels = write_labels(tmp_path / "labels", a=[0, -1])
    predictions(a=[0, 1, 2, 3], b=[0], c=[0]).to_parquet(tmp_path / "p.parquet")
    status, out, err = affcli("score", tmp_path / "p.parquet", "--labels", labels)
    assert status == 0
    assert "note:" in err
    assert "2 videos without labels ignored: b, c.\n" in err
    assert out.startswith("1 frame of 1 video")


@pytest.mark.parametrize(
    ("labelled", "predicted", "hint"),
    [
        ("a", "clips/a.mp4", "add --video-stem"),
        ("a.mp4", "a", "add --video-stem"),
        ("a", "A", "differ in upper and lower case"),
    ],
)
def test_ids_that_are_written_otherwise_in_the_labels_are_told(tmp_path, affcli, labelled, predicted, hint):
    labels = tmp_path / "labels.csv"
    labels.write_text(f"video,frame,label\n{labelled},1,0\nb,1,1\n")
    predictions(**{predicted: [0], "b": [1]}).to_parquet(tmp_path / "p.parquet")
    err = affcli("score", tmp_path / "p.parquet", "--labels", labels, "--allow-missing")[2]
    assert f"1 video without labels ignored: {predicted}. They are labelled under ids" in err
    assert hint in err
    if "--video-stem" in hint:
        found = affcli("score", tmp_path / "p.parquet", "--labels", labels, "--video-stem")
        assert (found[0], "ignored" in found[2], found[1].startswith("2 frames of 2 videos")) == (0, False, True)


def test_nothing_in_common_is_an_error(tmp_path, refused):
    labels = write_labels(tmp_path / "labels", a=[-1])
    predictions(a=[0]).to_parquet(tmp_path / "p.parquet")
    assert "no labelled frame has a prediction" in refused(tmp_path / "p.parquet", "--labels", labels)


def test_two_rows_of_one_frame_point_to_vote(tmp_path, refused):
    labels = write_labels(tmp_path / "labels", a=[0])
    pd.concat([predictions(a=[0]), predictions(a=[1])]).to_parquet(tmp_path / "p.parquet")
    text = refused(tmp_path / "p.parquet", "--labels", labels)
    assert "several rows for video 'a', frame 1" in text
    assert "affcli vote" in text


def test_spans_point_to_vote(tmp_path, refused):
    labels = write_labels(tmp_path / "labels", a=[0])
    predictions(a=[0]).rename(columns={"frame": "start"}).assign(end=4).to_parquet(tmp_path / "p.parquet")
    assert "affcli vote" in refused(tmp_path / "p.parquet", "--labels", labels)


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)), st.integers(0, 3))
def test_matching_finds_what_a_dictionary_finds(wanted, frames, trailing):
    wanted, frames = sorted(wanted), sorted(frames)
    at = {frame: row for row, frame in enumerate(frames)}
    if frames:
        at |= {frames[-1] + i: len(frames) - 1 for i in range(1, trailing + 1)}
    found = matching_rows(np.array(wanted, np.int64), np.array(frames, np.int64), trailing=trailing)
    assert found.tolist() == [at.get(frame, -1) for frame in wanted]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_score_equals_scikit_learn_on_the_pooled_labelled_frames(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("score")
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    number, label = st.integers(0, 7), st.integers(-1, 7)
    predicted = {f"v{i}": data.draw(st.lists(number, min_size=n, max_size=n)) for i, n in enumerate(lengths)}
    truth = {name: data.draw(st.lists(label, min_size=len(p), max_size=len(p) + 2)) for name, p in predicted.items()}
    filled = {name: p + [p[-1]] * 2 for name, p in predicted.items()}
    pairs = [(t, p) for name in truth for t, p in zip(truth[name], filled[name], strict=False) if t >= 0]
    labels = write_labels(folder / "labels", **truth)
    predictions(**predicted).to_parquet(folder / "p.parquet")
    status = run(["score", str(folder / "p.parquet"), "--labels", str(labels), "-o", str(folder / "s.json"), "-q"])
    assert status == (0 if pairs else 1)
    if pairs:
        found = json.loads((folder / "s.json").read_text())
        expected, got = zip(*pairs, strict=True)
        macro_f1 = f1_score(expected, got, labels=range(8), average="macro", zero_division=0)
        assert found["macro_f1"] == pytest.approx(macro_f1, abs=1e-12)
        assert found["accuracy"] == pytest.approx(accuracy_score(expected, got), abs=1e-12)


# --- which column is the prediction ----------------------------------------------------------------------------------


def test_in_tables_of_ours_the_label_counts(tmp_path, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 1])
    ours = write_ours(tmp_path / "p.parquet", predictions(a=[5, 5]), label=["Neutral", "Anger"])
    assert scored(ours, "--labels", labels)["accuracy"] == 1


def test_in_other_tables_the_logits_count_and_a_note_says_so(tmp_path, affcli):
    labels = write_labels(tmp_path / "labels", a=[0, 1])
    predictions(a=[0, 5]).assign(label=["Neutral", "Anger"]).to_parquet(tmp_path / "p.parquet")
    _, out, err = affcli("score", tmp_path / "p.parquet", "--labels", labels, "--json")
    assert json.loads(out)["accuracy"] == 0.5
    assert "using the logits; pass --label-column label" in err


@pytest.mark.parametrize("made_by", [("smooth", "--method", "mode", "-k", "5"), ("vote", "--hard")])
def test_a_table_of_ours_scores_and_is_exported_alike_through_csv(tmp_path, affcli, made_by):
    numbers = np.random.default_rng(1)
    videos = {name: numbers.integers(0, 8, 40).tolist() for name in "ab"}
    again = [predictions(b=videos["a"])] if "--hard" in made_by else []  # two votes for each of b's frames
    table = pd.concat([predictions(**videos), *again])
    table.iloc[3, 2:] = np.nan
    table.to_parquet(tmp_path / "p.parquet")
    labels = write_labels(tmp_path / "labels", **videos)
    found = []
    for form in ("parquet", "csv"):
        file = tmp_path / f"o.{form}"
        assert affcli(made_by[0], tmp_path / "p.parquet", *made_by[1:], "-o", file)[0] == 0
        score = affcli("score", file, "--labels", labels, "--allow-missing", "--json", "-q")
        found.append((score, affcli("export", file, "--to", "abaw")))
    shares = np.sort(pd.read_parquet(tmp_path / "o.parquet")[list(CLASSES)].to_numpy(), axis=1)
    assert (shares[:, -1] == shares[:, -2]).any()  # or there is nothing to break
    assert found[0] == found[1]


def test_a_label_breaks_ties_only_where_it_never_contradicts_the_logits(tmp_path, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 6, 1])
    table = predictions(a=[0, 6, 1]).assign(label=["Neutral", "Surprise", "Anger"])
    table.loc[2, list(CLASSES)] = [3, 3, 0, 0, 0, 0, 0, 3]
    table.to_csv(tmp_path / "p.csv", index=False)
    assert scored(tmp_path / "p.csv", "--labels", labels)["accuracy"] == 1
    for wrong in ("Fear", None, "gymnastics"):
        table.assign(label=["Neutral", wrong, "Anger"]).to_csv(tmp_path / "p.csv", index=False)
        assert scored(tmp_path / "p.csv", "--labels", labels)["accuracy"] == 2 / 3


@pytest.mark.parametrize("emotion", [["Neutral", "anger"], [0, 1], [0.0, 1.0]])
@pytest.mark.parametrize("with_logits", [True, False])
def test_a_named_label_column_counts(tmp_path, scored, emotion, with_logits):
    labels = write_labels(tmp_path / "labels", a=[0, 1])
    table = predictions(a=[5, 5]) if with_logits else predictions(a=[5, 5])[["video", "frame"]]
    table.assign(emotion=emotion).to_csv(tmp_path / "p.csv", index=False)
    assert scored(tmp_path / "p.csv", "--labels", labels, "--label-column", "emotion")["accuracy"] == 1


def test_a_label_column_that_is_not_there_is_named(tmp_path, refused):
    labels = write_labels(tmp_path / "labels", a=[0])
    predictions(a=[0]).to_parquet(tmp_path / "p.parquet")
    assert "no column 'mood'" in refused(tmp_path / "p.parquet", "--labels", labels, "--label-column", "mood")


def test_columns_may_stand_in_any_order_and_ties_go_to_the_first_class(tmp_path, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 6, 1])
    table = predictions(a=[0, 6, 1])
    table.loc[2, list(CLASSES)] = [0, 3, 0, 3, 0, 0, 0, 3]
    table[["video", "frame", *sorted(CLASSES)]].to_parquet(tmp_path / "p.parquet")
    assert scored(tmp_path / "p.parquet", "--labels", labels)["accuracy"] == 1


def test_other_classes_ask_for_map_or_classes(tmp_path, refused, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 7])
    table = predictions(a=[0, 7]).rename(columns={"Other": "Boredom"})
    table.to_parquet(tmp_path / "p.parquet")
    classes = ",".join([*CLASSES[:7], "Boredom"])
    line = refused(tmp_path / "p.parquet", "--labels", labels, "--classes", classes, "-q", status=2)
    assert "none of the classes" in line
    assert "--map Boredom=CLASS" in line
    found = scored(tmp_path / "p.parquet", "--labels", labels, "--map", "Boredom=Other")
    assert found["accuracy"] == 1


def test_a_submission_text_is_scored_from_a_file_and_from_a_pipe(tmp_path, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 1, -1], b_left=[6])
    text = tmp_path / "predictions.txt"
    header = "image_location," + ",".join(CLASSES)
    text.write_text(f'"{header}"\na/00001.jpg,0\na/00002.jpg,2\nb_left/00001.jpg,6\n')
    assert scored(text, "--labels", labels)["accuracy"] == 2 / 3
    command = [sys.executable, "-m", "affcli", "score", "--labels", str(labels), "--json"]
    piped = subprocess.run(command, input=text.read_bytes(), capture_output=True, check=True)
    assert json.loads(piped.stdout)["accuracy"] == 2 / 3


@pytest.mark.parametrize("form", ["folder", "file", "parquet", "csv", "submission"])
def test_labels_may_come_in_any_form(tmp_path, scored, form):
    folder = write_labels(tmp_path / "labels", a=[0, -1, 3])
    rows = pd.DataFrame({"video": "a", "frame": [1, 3], "label": ["Neutral", "Fear"]})
    header = "image_location," + ",".join(CLASSES)
    (tmp_path / "s.txt").write_text(f"{header}\na/00001.jpg,0\na/00002.jpg,-1\na/00003.jpg,3\n")
    rows.to_parquet(tmp_path / "l.parquet")
    rows.to_csv(tmp_path / "l.csv", index=False)
    names = {"folder": folder, "file": folder / "a.txt", "submission": tmp_path / "s.txt"}
    predictions(a=[0, 0, 4]).to_parquet(tmp_path / "p.parquet")
    source = names.get(form, tmp_path / f"l.{form}")
    assert scored(tmp_path / "p.parquet", "--labels", source)["accuracy"] == 0.5


# --- faces -----------------------------------------------------------------------------------------------------------


def test_faces_only_leaves_out_frames_without_a_face(tmp_path, scored):
    labels = write_labels(tmp_path / "labels", a=[0, 1, 2, 3])
    table = predictions(a=[0, 5, None, 3]).assign(face=[True, False, False, True])
    table.to_parquet(tmp_path / "p.parquet")
    found = scored(tmp_path / "p.parquet", "--labels", labels, "--faces-only")
    assert (found["frames"], found["accuracy"], found["coverage"]) == (2, 1, 1)


def test_faces_only_does_not_hide_a_frame_without_a_row(tmp_path, refused):
    labels = write_labels(tmp_path / "labels", a=[0, 1, 2])
    predictions(a=[0, 1, 2]).assign(face=[True, True, False]).drop(index=1).to_parquet(tmp_path / "p.parquet")
    assert "a (frame 2)" in refused(tmp_path / "p.parquet", "--labels", labels, "--faces-only")


@pytest.mark.parametrize(("face", "words"), [(["maybe"], "not true or false"), ([None], "no labelled frame")])
def test_faces_only_needs_true_or_false(tmp_path, refused, face, words):
    labels = write_labels(tmp_path / "labels", a=[0])
    predictions(a=[0]).assign(face=face).to_parquet(tmp_path / "p.parquet")
    assert words in refused(tmp_path / "p.parquet", "--labels", labels, "--faces-only")


def test_faces_only_needs_the_column(tmp_path, refused):
    labels = write_labels(tmp_path / "labels", a=[0])
    predictions(a=[0]).to_parquet(tmp_path / "p.parquet")
    assert "no column 'face'" in refused(tmp_path / "p.parquet", "--labels", labels, "--faces-only")


# --- what is printed -------------------------------------------------------------------------------------------------


def six_clips(tmp_path: Path) -> tuple[Path, Path]:
    """Six clips of six classes, all predicted right."""
    clips = {f"clip{i}": [i] * 10 for i in range(6)}
    predictions(**clips).to_parquet(tmp_path / "p.parquet")
    return tmp_path / "p.parquet", write_labels(tmp_path / "labels", **clips)


def test_json_is_the_contract(tmp_path, scored):
    table, labels = six_clips(tmp_path)
    found = scored(table, "--labels", labels)
    assert list(found) == CONTRACT
    assert (found["version"], found["classes_present"], found["macro_f1"]) == (1, 6, 6 / 8)
    assert found["accuracy_ci"] == [1, 1]
    assert found["per_class"][3] == {"class": "Fear", "precision": 1, "recall": 1, "f1": 1, "support": 10}
    assert np.shape(found["confusion"]) == (8, 8)
    found = scored(table, "--labels", labels, "--per-video", "--bootstrap", 0)
    assert list(found) == [*CONTRACT, "per_video"]
    assert found["per_video"][2] == {"video": "clip2", "frames": 10, "accuracy": 1, "macro_f1": 1 / 8}
    assert found["macro_f1_ci"] is found["accuracy_ci"] is None


def test_an_interval_that_excludes_its_own_figure_says_why(tmp_path, affcli):
    table, labels = six_clips(tmp_path)
    _, out, err = affcli("score", table, "--labels", labels, "--json")
    found = json.loads(out)
    assert found["macro_f1_ci"][1] < found["macro_f1"]
    assert "interval of macro F1 does not hold the figure itself" in err
    assert "no frame is labelled Surprise, Other" in err
    _, out, _ = affcli("score", table, "--labels", labels)
    assert "interval of macro F1 does not hold the figure itself" in out


def test_few_videos_make_intervals_mean_little(tmp_path, affcli):
    table, labels = six_clips(tmp_path)
    _, _, err = affcli("score", table, "--labels", labels)
    assert "the intervals mean little: resampled from only 6 videos.\n" in err
    assert "some classes" not in err  # of so few videos that is no wonder
    _, _, err = affcli("score", table, "--labels", labels, "--bootstrap", 0)
    assert "mean little" not in err


def test_rare_classes_make_intervals_mean_little(tmp_path, affcli):
    clips = {f"clip{i}": list(range(8 if i < 4 else 7)) for i in range(20)}
    predictions(**clips).to_parquet(tmp_path / "p.parquet")
    _, _, err = affcli("score", tmp_path / "p.parquet", "--labels", write_labels(tmp_path / "labels", **clips))
    assert "the intervals mean little: some classes stand in few videos (Other in 4)." in err


def test_with_enough_videos_there_is_no_such_note(tmp_path, affcli):
    clips = {f"clip{i}": list(range(8)) for i in range(20)}
    predictions(**clips).to_parquet(tmp_path / "p.parquet")
    _, _, err = affcli("score", tmp_path / "p.parquet", "--labels", write_labels(tmp_path / "labels", **clips))
    assert err == ""


def test_the_same_seed_prints_the_same_bytes(tmp_path, affcli):
    clips = {f"clip{i}": [i % 8] * (7 * i + 1) for i in range(9)}
    predictions(**clips).to_parquet(tmp_path / "p.parquet")
    labels = write_labels(tmp_path / "labels", **{name: [0, *frames[1:]] for name, frames in clips.items()})
    arguments = ("score", tmp_path / "p.parquet", "--labels", labels, "--json")
    assert affcli(*arguments) == affcli(*arguments, "--seed", 0) != affcli(*arguments, "--seed", 1)


def test_the_text_report_shows_figures_classes_and_row_percentages(tmp_path, affcli):
    labels = write_labels(tmp_path / "labels", a=[0, 0, 0, 1])
    predictions(a=[0, 0, 1, 1]).to_parquet(tmp_path / "p.parquet")
    _, out, _ = affcli("score", tmp_path / "p.parquet", "--labels", labels, "--bootstrap", 0, "--per-video")
    assert out == REPORT


REPORT = """\
4 frames of 1 video, coverage 100 % of the labelled frames, 2 of 8 classes present

           score
macro F1  0.1833
accuracy  0.7500

class      precision  recall      F1  frames
Neutral       1.0000  0.6667  0.8000       3
Anger         0.5000  1.0000  0.6667       1
Disgust       0.0000  0.0000  0.0000       0
Fear          0.0000  0.0000  0.0000       0
Happiness     0.0000  0.0000  0.0000       0
Sadness       0.0000  0.0000  0.0000       0
Surprise      0.0000  0.0000  0.0000       0
Other         0.0000  0.0000  0.0000       0

confusion, rows = truth, columns = prediction, in % of the row
           Neutral  Anger  Disgust  Fear  Happiness  Sadness  Surprise  Other
Neutral       66.7   33.3      0.0   0.0        0.0      0.0       0.0    0.0
Anger          0.0  100.0      0.0   0.0        0.0      0.0       0.0    0.0
Disgust          -      -        -     -          -        -         -      -
Fear             -      -        -     -          -        -         -      -
Happiness        -      -        -     -          -        -         -      -
Sadness          -      -        -     -          -        -         -      -
Surprise         -      -        -     -          -        -         -      -
Other            -      -        -     -          -        -         -      -

video  frames  accuracy  macro F1
a           4    0.7500    0.1833
"""


def test_an_output_file_is_not_replaced_without_force(tmp_path, affcli):
    table, labels = six_clips(tmp_path)
    output = tmp_path / "s.json"
    arguments = ("score", table, "--labels", labels, "-q", "-o", output)
    assert affcli(*arguments) == (0, "", "")
    first = output.read_bytes()
    status, _, err = affcli(*arguments)
    assert (status, err.count("\n")) == (1, 1)
    assert "--force" in err
    assert affcli(*arguments, "-f") == (0, "", "")
    assert output.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("input_name", "labels_name", "status", "words"),
    [
        ("nowhere.parquet", "labels", 1, "nowhere.parquet: No such file or directory."),
        ("p.parquet", "nowhere", 1, "nowhere: No such file or directory."),
        ("empty.csv", "labels", 1, "empty.csv: is empty (0 bytes)"),
        ("p.parquet", ".", 1, "did you mean"),
        ("-", "-", 2, "only one of INPUT and --labels can be standard input"),
    ],
)
def test_wrong_inputs_give_one_line(tmp_path, monkeypatch, refused, input_name, labels_name, status, words):
    six_clips(tmp_path)
    (tmp_path / "empty.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert words in refused(input_name, "--labels", labels_name, status=status)


def test_score_runs_without_torch_and_rich(tmp_path):
    table, labels = six_clips(tmp_path)
    for name in ("torch", "transformers", "rich"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    command = [sys.executable, "-m", "affcli", "score", str(table), "--labels", str(labels)]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, "macro F1" in done.stdout) == (0, True), done.stderr


# --- several tables --------------------------------------------------------------------------------------------------


def three_tables(tmp_path: Path) -> tuple[list[Path], Path]:
    """The second table is right in half of the videos where the first is wrong; the third equals the first."""
    numbers = np.random.default_rng(5)
    truth = {f"v{i:02d}": numbers.integers(0, 8, 30).tolist() for i in range(24)}
    first = {name: np.where(numbers.random(30) < 0.5, frames, 0).tolist() for name, frames in truth.items()}
    second = {name: truth[name] if i % 2 else frames for i, (name, frames) in enumerate(first.items())}
    files = [tmp_path / f"{name}.parquet" for name in ("one", "two", "three")]
    for file, videos in zip(files, (first, second, first), strict=True):
        predictions(**videos).to_parquet(file)
    return files, write_labels(tmp_path / "labels", **truth)


def test_several_tables_get_their_own_scores_and_the_difference_to_the_first(tmp_path, scored):
    files, labels = three_tables(tmp_path)
    tables = scored(*files, "--labels", labels)["tables"]
    alone = [scored(file, "--labels", labels) for file in files]
    assert [table["name"] for table in tables] == [str(file) for file in files]
    for table, single in zip(tables, alone, strict=True):
        assert {"version": 1, **{key: table[key] for key in CONTRACT[1:]}} == single
    first, second, third = (table["difference"] for table in tables)
    assert second["macro_f1"] == tables[1]["macro_f1"] - tables[0]["macro_f1"] > 0.1
    assert first == third == {"accuracy": 0, "macro_f1": 0, "macro_f1_ci": [0, 0], "accuracy_ci": [0, 0]}


def test_the_difference_has_a_paired_interval(tmp_path, scored):
    files, labels = three_tables(tmp_path)
    one, two = scored(*files[:2], "--labels", labels, "--bootstrap", 300, "--seed", 4)["tables"]
    draws = np.random.default_rng(4).integers(0, 24, (300, 24))
    each = [scored(file, "--labels", labels, "--per-video")["per_video"] for file in files[:2]]
    right = [np.array([video["accuracy"] for video in videos]) for videos in each]
    differences = [np.mean(right[1][drawn]) - np.mean(right[0][drawn]) for drawn in draws]
    assert two["difference"]["accuracy_ci"] == pytest.approx(np.percentile(differences, [2.5, 97.5]))
    unpaired = (two["accuracy_ci"][1] - one["accuracy_ci"][0]) - (two["accuracy_ci"][0] - one["accuracy_ci"][1])
    assert np.diff(two["difference"]["accuracy_ci"])[0] < unpaired


def test_several_tables_print_a_row_each(tmp_path, affcli):
    files, labels = three_tables(tmp_path)
    status, out, err = affcli("score", *files, "--labels", labels)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.startswith(str(tmp_path))]
    assert [row[0] for row in rows] == [str(file) for file in files] * 2
    assert rows[1][5].startswith("+0.")
    assert rows[2][5:] == ["+0.0000", "+0.0000", "to", "+0.0000"]


def test_the_example_shows_the_curve_over_kernels(tmp_path, programs):
    files, labels = three_tables(tmp_path)
    script = Path(__file__).parents[2] / "examples" / "smoothing-curve.sh"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(script), str(files[0]), str(labels), "1", "3"]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("k")] == [
        "k1.parquet",
        "k3.parquet",
    ] * 2


def test_tables_scored_on_different_frames_say_so(tmp_path, affcli):
    labels = write_labels(tmp_path / "labels", a=[0, 1], b=[1, 1])
    predictions(a=[0, 1], b=[1, 1]).to_parquet(tmp_path / "p.parquet")
    predictions(b=[1, 1]).to_parquet(tmp_path / "q.parquet")
    status, out, err = affcli(
        "score", tmp_path / "p.parquet", tmp_path / "q.parquet", "--labels", labels, "--allow-missing", "--json"
    )
    assert status == 0
    assert "scored on different frames" in err
    assert f"{tmp_path / 'q.parquet'}: 2 labelled frames without a prediction left out: coverage 50.00 %." in err
    assert [table["frames"] for table in json.loads(out)["tables"]] == [4, 2]


def test_escapes_in_video_names_do_not_reach_the_terminal(tmp_path, capsys):
    evil = "\x1b]0;title\x07\x1b[31mred\nnew line"
    truth = pd.DataFrame({"video": [evil] * 2, "frame": [1, 2], "label": ["Anger", "Other"]})
    truth.to_parquet(tmp_path / "truth.parquet")
    truth.to_parquet(tmp_path / "p.parquet")
    status, out, _ = call(
        capsys, "score", tmp_path / "p.parquet", "--labels", tmp_path / "truth.parquet", "--per-video"
    )
    assert status == 0
    assert all(one.isprintable() for line in out.splitlines() for one in line)
    assert "\\x1b]0;title\\x07\\x1b[31mred\\nnew line" in out
