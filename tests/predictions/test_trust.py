"""`vote --trust P`: the first input where it is surer than P, else the vote of the others."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.frame_tables import call

from affcli.schema import CLASSES


@pytest.fixture
def affcli(capsys, tmp_path, monkeypatch):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(call, capsys)


def table(path: Path, rows: list[tuple[str, int, int, float]]) -> pd.DataFrame:
    """Rows (video, frame, class, its probability); the rest is shared out evenly. Logits are the logarithms."""
    found = []
    for video, frame, number, p in rows:
        numbers = np.full(8, (1 - p) / 7)
        numbers[number] = p
        found.append([video, frame, *np.log(numbers)])
    frames = pd.DataFrame(found, columns=["video", "frame", *CLASSES])
    frames.to_parquet(path)
    return frames


def test_the_first_input_decides_where_it_is_surer(affcli, tmp_path) -> None:
    a = table(tmp_path / "a.parquet", [("v", 1, 1, 0.95), ("v", 2, 1, 0.8), ("v", 3, 2, 0.9), ("w", 1, 3, 0.4)])
    b = table(tmp_path / "b.parquet", [("v", 1, 4, 0.99), ("v", 2, 4, 0.5), ("v", 3, 4, 0.6), ("v", 4, 5, 0.3)])
    status, _, _ = affcli("vote", "a.parquet", "b.parquet", "--trust", "0.85", "-o", "F.parquet")
    assert status == 0
    found = pd.read_parquet(tmp_path / "F.parquet")
    assert found[["video", "frame", "label"]].values.tolist() == [
        ["v", 1, "Anger"],  # a is sure
        ["v", 2, "Happiness"],  # a is not
        ["v", 3, "Disgust"],
        ["v", 4, "Sadness"],  # a lacks it
        ["w", 1, "Fear"],  # b lacks it: a's, sure or not
    ]
    expected = [a.iloc[0], b.iloc[1], a.iloc[2], b.iloc[3], a.iloc[3]]
    names = list(CLASSES)
    np.testing.assert_allclose(found[names], np.array([row[names] for row in expected], float), rtol=1e-6)
    assert found.votes.tolist() == [1, 1, 1, 1, 1]


def test_sure_means_above_not_at_the_threshold(affcli, tmp_path) -> None:
    pd.DataFrame([["v", 1, 0.75, 0.25]], columns=["video", "frame", "Neutral", "Anger"]).to_csv("a.csv", index=False)
    pd.DataFrame([["v", 1, 0.25, 0.75]], columns=["video", "frame", "Neutral", "Anger"]).to_csv("b.csv", index=False)
    for least, label in ((0.75, "Anger"), (0.7499, "Neutral")):
        affcli("vote", "a.csv", "b.csv", "--trust", str(least), "-o", "F.parquet", "--force")
        assert pd.read_parquet("F.parquet").label.tolist() == [label]


def test_with_weights_the_first_input_takes_part_in_the_vote_too(affcli, tmp_path) -> None:
    a = table(tmp_path / "a.parquet", [("v", 1, 1, 0.5)])
    b = table(tmp_path / "b.parquet", [("v", 1, 4, 0.5)])
    c = table(tmp_path / "c.parquet", [("v", 1, 5, 0.9)])
    names = list(CLASSES)
    affcli("vote", "a.parquet", "b.parquet", "c.parquet", "--trust", "0.9", "--weights", "2,1,0", "-o", "F.parquet")
    found = pd.read_parquet(tmp_path / "F.parquet")
    np.testing.assert_allclose(found[names], (2 * a[names] + b[names]) / 3, rtol=1e-6)
    affcli("vote", "a.parquet", "b.parquet", "c.parquet", "--trust", "0.9", "-o", "G.parquet")
    found = pd.read_parquet(tmp_path / "G.parquet")
    np.testing.assert_allclose(found[names], (b[names] + c[names]) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["a.parquet"], "name at least two inputs"),
        (["a.parquet", "b.parquet", "--hard"], "needs probabilities of the first input"),
    ],
)
def test_trust_in_nothing_is_a_wrong_call(affcli, tmp_path, arguments: list[str], text: str) -> None:
    table(tmp_path / "a.parquet", [("v", 1, 1, 0.5)])
    table(tmp_path / "b.parquet", [("v", 1, 1, 0.5)])
    status, _, told = affcli("vote", *arguments, "--trust", "0.9", "-o", "F.parquet")
    assert status == 2
    assert text in told
