"""Which frames get a label: the rule itself, and what vote, smooth, score and export make of a table that has one."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.frame_tables import call, predictions, write_labels, write_ours

from affcli.predictions.naming import Naming, confidences
from affcli.predictions.video_rows import VideoRows
from affcli.schema import CLASSES, FRAMES, metadata_of, with_metadata


def thresholded(file, table, **rule):
    """A frame table of ours that states its rule."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    rule = {"min_confidence": 0.5, "min_speech": 0.2, **rule}
    schema = with_metadata(arrow.schema, kind=FRAMES, classes=list(CLASSES), space="logits", **rule)
    pq.write_table(arrow.cast(schema), file)
    return file


def two_sure_of_four() -> pd.DataFrame:
    """Frame 1 is sure, 2 is even between the eight, 3 shows neither a face nor speech, 4 has speech alone."""
    table = predictions(v=[4, 4, 4, 4])
    table["Happiness"] = [5.0, 1.0, 5.0, 5.0]
    return table.assign(
        face=[True, True, False, False],
        speech=np.array([np.nan, 0.9, 0.1, 0.2], np.float32),
        label=["Happiness", None, None, "Happiness"],
    )


def test_a_confidence_is_the_largest_probability():
    logits = np.array([[0.0, math.log(3)], [math.nan, 2.0], [math.nan, math.nan], [math.inf, 0.0]])
    assert confidences(logits, "logits") == pytest.approx([0.75, 1, math.nan, 1], nan_ok=True)
    assert confidences(np.array([[0.1, 0.3]]), "shares") == pytest.approx([0.75])
    assert np.isnan(confidences(np.array([[0.0, 0.0]]), "probabilities")).all()


def test_a_frame_is_unsure_below_the_confidence_or_without_face_and_speech():
    columns = {"face": [True, True, False, None], "speech": pa.array([None, 0.5, 0.1, 0.3], pa.float32())}
    even, sure = [0.0, 0.0], [math.log(9), 0.0]
    rows = VideoRows("v", np.arange(1, 5), np.array([sure, even, sure, sure]), pa.table(columns))
    assert Naming(0.9, 0.2).unsure(rows, "logits").tolist() == [False, True, True, False]
    assert Naming(0.0, 0.2).unsure(rows, "logits").tolist() == [False, False, True, False]
    assert Naming(0.0, 0.0).unsure(rows, "logits").tolist() == [False, False, False, False]  # any sound
    without = VideoRows("v", rows.frame, rows.logits, pa.table({"face": columns["face"]}))
    assert Naming(0.0, 0.2).unsure(without, "logits").tolist() == [False] * 4


@pytest.mark.parametrize("command", ["vote", "smooth"])
def test_vote_and_smooth_apply_the_tables_rule_again(tmp_path, capsys, command):
    file = thresholded(tmp_path / "t.parquet", two_sure_of_four())
    how = ["-k", "1"] if command == "smooth" else []
    assert call(capsys, command, file, *how, "-o", tmp_path / "o.parquet")[0] == 0
    found = pq.read_table(tmp_path / "o.parquet")
    assert found["label"].to_pylist() == ["Happiness", None, None, "Happiness"]
    assert found["Happiness"].to_pylist() == [5.0, 1.0, 5.0, 5.0]
    assert metadata_of(found.schema)["min_confidence"] == 0.5


def test_smoothing_can_make_a_frame_sure(tmp_path, capsys):
    table = two_sure_of_four().assign(face=True)
    file = thresholded(tmp_path / "t.parquet", table)
    assert call(capsys, "smooth", file, "-k", "3", "-o", tmp_path / "o.parquet")[0] == 0
    assert pq.read_table(tmp_path / "o.parquet")["label"].to_pylist() == ["Happiness"] * 4


def test_score_takes_the_largest_logit_of_unsure_frames_and_says_what_was_named(tmp_path, capsys):
    labels = write_labels(tmp_path / "labels", v=[4, 4, 0, 0])
    file = thresholded(tmp_path / "t.parquet", two_sure_of_four())
    status, out, _ = call(capsys, "score", file, "--labels", labels, "--json", "--bootstrap", "0")
    found = json.loads(out)
    assert status == 0
    assert (found["frames"], found["coverage"], found["accuracy"]) == (4, 1.0, 0.5)
    assert (found["named"], found["named_accuracy"]) == (0.5, 0.5)
    text = call(capsys, "score", file, "--labels", labels, "--bootstrap", "0")[1]
    assert "50.00 % of the frames are named, 50.00 % of these rightly." in text


def test_score_of_a_table_without_a_rule_names_every_frame(tmp_path, capsys):
    labels = write_labels(tmp_path / "labels", v=[4, 0])
    file = write_ours(tmp_path / "t.parquet", predictions(v=[4, 4]), label=["Happiness"] * 2)
    found = json.loads(call(capsys, "score", file, "--labels", labels, "--json", "--bootstrap", "0")[1])
    assert (found["named"], found["named_accuracy"]) == (1.0, 0.5)


def test_a_submission_guesses_where_label_texts_do_not(tmp_path, capsys):
    file = thresholded(tmp_path / "t.parquet", two_sure_of_four())
    assert call(capsys, "export", file, "--to", "abaw", "-o", tmp_path / "s.txt")[0] == 0
    assert [line[-1] for line in (tmp_path / "s.txt").read_text().split()[1:]] == ["4", "4", "4", "4"]
    assert call(capsys, "export", file, "--to", "labels", "-o", tmp_path / "texts")[0] == 0
    assert (tmp_path / "texts" / "v.txt").read_text().split()[1:] == ["4", "-1", "-1", "4"]


def test_a_transcript_in_a_column_speech_is_no_obstacle(tmp_path, capsys):
    file = write_ours(tmp_path / "t.parquet", predictions(v=[4, 4]), speech=["hello", "there"])
    assert call(capsys, "vote", file, "-o", tmp_path / "o.parquet")[0] == 0
    assert "speech" not in pq.read_table(tmp_path / "o.parquet").column_names
