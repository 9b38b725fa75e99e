"""`export --to labels --min-confidence P`: pseudo-labels, only where the label's probability is at least P."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.frame_tables import call

from affcli.labels.reader import read_labels
from affcli.schema import CLASSES


@pytest.fixture
def affcli(capsys, tmp_path, monkeypatch):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(call, capsys)


def write(path: Path, rows: list[tuple[str, int, int, float]], **more: list[str]) -> None:
    found = []
    for video, frame, number, p in rows:
        numbers = np.full(8, (1 - p) / 7)
        numbers[number] = p
        found.append([video, frame, *(np.log(numbers) + 3)])
    pd.DataFrame(found, columns=["video", "frame", *CLASSES]).assign(**more).to_parquet(path)


def test_labels_below_the_confidence_are_not_annotated_and_videos_without_any_get_no_file(affcli, tmp_path) -> None:
    write(tmp_path / "F.parquet", [("a", 1, 4, 0.95), ("a", 2, 4, 0.85), ("a", 4, 5, 0.91), ("b", 1, 2, 0.5)])
    status, _, told = affcli("export", "F.parquet", "--to", "labels", "--min-confidence", "0.9", "-o", "pseudo")
    assert status == 0
    assert "kept the labels of 2 of 4 frames; 1 video without any left out" in told
    assert [path.name for path in sorted((tmp_path / "pseudo").iterdir())] == ["a.txt"]
    assert read_labels("pseudo")["a"].labels.tolist() == [4, -1, -1, 5]


def test_the_confidence_is_that_of_the_label_also_where_another_class_is_likelier(affcli, tmp_path) -> None:
    rows = [("a", 1, 4, 0.95), ("a", 2, 4, 0.95)]
    write(tmp_path / "F.parquet", rows, mine=["Happiness", "Sadness"])
    how = ("--to", "labels", "--label-column", "mine", "--min-confidence", "0.9")
    assert affcli("export", "F.parquet", *how, "-o", "pseudo")[0] == 0
    assert read_labels("pseudo")["a"].labels.tolist() == [4, -1] or read_labels("pseudo")["a"].labels.tolist() == [4]


def test_without_a_sure_frame_without_logits_and_for_other_formats_it_is_an_error(affcli, tmp_path) -> None:
    write(tmp_path / "F.parquet", [("a", 1, 4, 0.5)])
    status, _, told = affcli("export", "F.parquet", "--to", "labels", "--min-confidence", "0.9", "-o", "pseudo")
    assert (status, "no frame has a label with a probability of at least 0.9" in told) == (1, True)
    assert not (tmp_path / "pseudo").exists()
    (tmp_path / "labels.csv").write_text("video,frame,label\na,1,Fear\n")
    status, _, told = affcli("export", "labels.csv", "--to", "labels", "--min-confidence", "0.9", "-o", "pseudo")
    assert (status, "no logits, so no confidence" in told) == (1, True)
    status, _, told = affcli("export", "F.parquet", "--to", "csv", "--min-confidence", "0.9", "-o", "x.csv")
    assert (status, "--min-confidence goes with --to labels" in told) == (2, True)
