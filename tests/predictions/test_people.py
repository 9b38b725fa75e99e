"""Several people in one video: named where rows cannot be told apart, and kept apart as `video#id`."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from helpers.frame_tables import call, predictions, write_labels


@pytest.fixture
def affcli(capsys):
    return functools.partial(call, capsys)


def two_people(column: str, ids: tuple[object, object]) -> pd.DataFrame:
    first, second = predictions(a=[4, 4, 4], b=[4]), predictions(a=[5, 5, 5], b=[5])
    return pd.concat([first.assign(**{column: ids[0]}), second.assign(**{column: ids[1]})]).sort_values("frame")


@pytest.mark.parametrize("column", ["face_id", "person", "track", "Identity", "track_id", "personID", "FaceIndex"])
@pytest.mark.parametrize("command", ["smooth", "vote", "score", "export"])
def test_the_column_that_tells_people_apart_is_named(tmp_path, affcli, command, column):
    two_people(column, (0, 1)).to_csv(tmp_path / "p.csv", index=False)
    labels = write_labels(tmp_path / "labels", a=[4, 4, 4])
    more = {"score": ("--labels", labels), "export": ("--to", "abaw")}.get(command, ())
    status, out, err = affcli(command, tmp_path / "p.csv", *more)
    assert (status, out) == (1, "")
    assert f"'{column}'" in err
    assert f"--person-column {column}" in err


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("ids", "names"),
    [((0, 1), ("#0", "#1")), (("x", "007"), ("#x", "#007")), ((1.0, np.nan), ("#1", "")), (("p", None), ("#p", ""))],
)
def test_people_are_kept_apart_as_videos_of_their_own(tmp_path, affcli, ids, names, suffix):
    table = two_people("who", ids)
    file = tmp_path / f"p.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    for command in ("vote", "smooth"):
        assert affcli(command, file, "--person-column", "who", "-o", tmp_path / f"{command}.csv")[0] == 0
        found = pd.read_csv(tmp_path / f"{command}.csv")
        assert sorted(set(found["video"])) == sorted(f"{video}{name}" for video in "ab" for name in names)
        for name, label in zip(names, ("Happiness", "Sadness"), strict=True):
            assert set(found["label"][found["video"] == f"a{name}"]) == {label}


def test_people_are_scored_against_their_own_labels(tmp_path, affcli):
    two_people("who", (0, 1)).to_csv(tmp_path / "p.csv", index=False)
    folder = write_labels(tmp_path / "labels", **{"a#0": [4, 4, 4], "a#1": [5, 5, 5]})
    table = tmp_path / "labels.csv"
    truth = two_people("who", (0, 1))[["video", "frame", "who"]]
    truth.assign(label=np.where(truth["who"] == 0, "happy", "sad")).to_csv(table, index=False)
    for labels, frames in ((folder, 6), (table, 8)):
        status, out, _ = affcli("score", tmp_path / "p.csv", "--person-column", "who", "--labels", labels)
        assert status == 0
        assert out.startswith(f"{frames} frames")
        assert "accuracy  1.0000" in out


def test_rows_that_differ_in_no_such_column_are_for_vote(tmp_path, affcli):
    two_people("fold", (0, 1)).to_csv(tmp_path / "p.csv", index=False)
    assert "run `affcli vote` first" in affcli("smooth", tmp_path / "p.csv")[2]
    assert affcli("vote", tmp_path / "p.csv", "-o", tmp_path / "o.csv")[0] == 0
    assert set(pd.read_csv(tmp_path / "o.csv")["votes"]) == {2}


def test_a_person_column_that_is_not_there_is_named_with_the_likely_ones(tmp_path, affcli):
    two_people("face_id", (0, 1)).to_csv(tmp_path / "p.csv", index=False)
    status, _, err = affcli("vote", tmp_path / "p.csv", "--person-column", "faceid")
    assert status == 1
    assert "no column 'faceid' (columns: face_id, " in err
