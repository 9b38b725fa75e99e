"""What the numbers of a table are: recognised, kept by every command, and never taken through a second softmax."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.frame_tables import call, write_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax as scipy_softmax

from affcli.errors import SpaceError
from affcli.predictions.columns import ColumnNames
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.space import PERCENT, PROBABILITIES, Recognised, contradiction, converted, recognise, whole
from affcli.schema import CLASSES, FRAMES, metadata_of, with_metadata


@pytest.fixture
def affcli(capsys):
    return functools.partial(call, capsys)


def softmaxes(frames: int = 30, classes: int = 8, seed: int = 0) -> np.ndarray:
    return scipy_softmax(np.random.default_rng(seed).normal(scale=2, size=(frames, classes)), axis=1)


def frame_table(numbers: np.ndarray, video: str = "v", names: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    keys = {"video": video, "frame": np.arange(1, len(numbers) + 1)}
    return pd.DataFrame({**keys, **dict(zip(names, numbers.T, strict=True))})


def numbers_of(file: Path) -> np.ndarray:
    return np.column_stack([pq.read_table(file)[name].to_numpy() for name in CLASSES])


def space_of(file: Path) -> str:
    return metadata_of(pq.read_schema(file))["space"]


# --- recognised ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "space"),
    [
        (lambda p: p, "probabilities"),
        (lambda p: p.astype(np.float16), "probabilities"),
        (lambda p: p.astype(np.float32), "probabilities"),
        (lambda p: p.round(2), "probabilities"),
        (lambda p: p * 100, "percent"),
        (lambda p: (p * 100).round(2), "percent"),
        (lambda p: np.where(np.arange(len(p))[:, None] == 3, np.nan, p), "probabilities"),
        (lambda p: np.where(np.arange(len(p))[:, None] == 3, 0, p), "probabilities"),
        (lambda p: np.column_stack([p, np.full(len(p), np.nan)]), "probabilities"),
        (lambda p: np.log(p), "logits"),
        (lambda p: p - 0.2, "logits"),
        (lambda p: p * 1.1, "logits"),
        (lambda p: p / p.max(axis=1, keepdims=True), "logits"),
    ],
)
def test_rows_of_at_least_0_that_sum_to_1_or_100_are_probabilities(change, space):
    found = recognise(change(softmaxes()))
    assert found is not None
    assert (found.space, found.odd_row) == (space, None)


@pytest.mark.parametrize(
    ("sum_", "space"), [(0.98, "probabilities"), (1.02, "probabilities"), (0.979, "logits"), (1.021, "logits")]
)
def test_the_sum_may_be_off_by_two_hundredths(sum_, space):
    found = recognise(np.full((4, 2), sum_ / 2))
    assert found is not None
    assert found.space == space


def test_rows_without_numbers_tell_nothing():
    assert recognise(np.full((3, 2), np.nan)) is None
    assert recognise(np.zeros((3, 2))) is None
    assert recognise(np.empty((0, 2))) is None


def test_a_row_that_contradicts_the_others_is_found():
    mixed = softmaxes()
    mixed[7] = 3.0
    assert recognise(mixed) == Recognised("probabilities", 7)
    assert contradiction(mixed, PROBABILITIES) == 7
    assert contradiction(softmaxes(), PROBABILITIES) is None
    assert contradiction(100 * softmaxes(), PERCENT) is None
    partly = softmaxes()
    partly[3, 1] = np.nan
    assert contradiction(partly, PROBABILITIES) is None


@settings(deadline=None)
@given(arrays.arrays(np.float64, (5, 3), elements=st.floats(-4, 4)))
def test_whole_keeps_the_largest_and_sums_to_1(values):
    found = whole(values)
    assert found.sum(axis=1) == pytest.approx(np.ones(5))
    assert (found >= 0).all()
    best = values.argmax(axis=1)
    assert (found[np.arange(5), best] >= found.max(axis=1) - 1e-12).all()


def test_logarithms_of_probabilities_are_their_logits():
    probabilities = softmaxes()
    logits = converted(probabilities, PROBABILITIES, "logits")
    np.testing.assert_allclose(scipy_softmax(logits, axis=1), probabilities)
    assert np.isfinite(converted(np.array([[1.0, 0.0]]), PROBABILITIES, "logits")).all()


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("factor", [1, 100])
def test_voting_probabilities_takes_no_softmax_and_says_once_what_they_are(tmp_path, affcli, suffix, factor):
    probabilities = softmaxes()
    table = frame_table(factor * probabilities)
    file = tmp_path / f"p.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    for space in ([], ["--space", "probabilities"]):
        status, _, err = affcli("vote", file, *space, "-o", tmp_path / "o.parquet", "-f")
        assert status == 0
        assert err.count("note:") == 1
        assert f"rows sum to {factor}" in err
        np.testing.assert_allclose(numbers_of(tmp_path / "o.parquet"), probabilities, atol=1e-6)
        assert space_of(tmp_path / "o.parquet") == "probabilities"


def test_what_a_table_of_ours_says_is_kept_by_vote_smooth_and_views(tmp_path, affcli):
    frame_table(np.log(softmaxes(40))).to_csv(tmp_path / "l.csv", index=False)
    affcli("vote", tmp_path / "l.csv", "--space", "probabilities", "-o", tmp_path / "p.parquet")
    assert affcli("vote", tmp_path / "p.parquet", "-o", tmp_path / "again.parquet") == (0, "", "")
    assert numbers_of(tmp_path / "again.parquet").tolist() == numbers_of(tmp_path / "p.parquet").tolist()
    assert space_of(tmp_path / "again.parquet") == "probabilities"
    assert affcli("smooth", tmp_path / "p.parquet", "-o", tmp_path / "s.parquet") == (0, "", "")
    assert space_of(tmp_path / "s.parquet") == "probabilities"
    smoothed = numbers_of(tmp_path / "s.parquet")
    assert smoothed.sum(axis=1) == pytest.approx(np.ones(40), abs=1e-6)
    out = affcli("export", tmp_path / "s.parquet", "--to", "segments", "--fps", 1)[1]
    first = out.splitlines()[1].split(",")
    assert float(first[-1]) == pytest.approx(smoothed[: int(first[2])].max(axis=1).mean(), abs=1e-6)


def test_confidence_is_the_probability_that_the_table_holds(tmp_path, affcli):
    rows = np.full((3, 8), 0.02)
    rows[:, 4] = 0.86
    frame_table(rows).to_csv(tmp_path / "p.csv", index=False)
    out = affcli("export", tmp_path / "p.csv", "--to", "segments", "--fps", 1)[1]
    assert out.splitlines()[1] == "v,1,3,0,3,Happiness,0.86"


def test_medians_that_are_all_0_give_the_mean(tmp_path, affcli):
    turns = np.eye(8)[[0, 1, 2] * 4]
    frame_table(turns).to_csv(tmp_path / "p.csv", index=False)
    affcli("smooth", tmp_path / "p.csv", "-k", 3, "-o", tmp_path / "s.parquet")
    np.testing.assert_allclose(numbers_of(tmp_path / "s.parquet")[4, :3], [1 / 3] * 3, atol=1e-6)


def test_the_user_knows_better_what_the_numbers_are(tmp_path, affcli):
    probabilities = softmaxes()
    frame_table(probabilities).to_csv(tmp_path / "p.csv", index=False)
    options = ("--input-space", "logits", "--space", "probabilities", "-o", tmp_path / "o.parquet")
    assert affcli("vote", tmp_path / "p.csv", *options) == (0, "", "")
    np.testing.assert_allclose(numbers_of(tmp_path / "o.parquet"), scipy_softmax(probabilities, axis=1), atol=1e-6)


def test_rows_that_change_their_space_are_an_error_that_names_the_first(tmp_path, affcli):
    rows = softmaxes(60)
    rows[50] = np.log(rows[50])
    pq.write_table(pa.Table.from_pandas(frame_table(rows)), tmp_path / "p.parquet", row_group_size=20)
    status, _, err = affcli("vote", tmp_path / "p.parquet", "-o", tmp_path / "o.parquet")
    assert status == 1
    assert "video 'v', frame 51" in err
    assert "--input-space" in err
    assert not (tmp_path / "o.parquet").exists()
    frame_table(rows).to_csv(tmp_path / "p.csv", index=False)
    assert "frame 51" in affcli("smooth", tmp_path / "p.csv", "-o", tmp_path / "o.parquet")[2]


def test_tables_of_different_spaces_need_to_be_brought_together(tmp_path, affcli):
    probabilities = softmaxes()
    frame_table(probabilities).to_csv(tmp_path / "p.csv", index=False)
    frame_table(np.log(probabilities)).to_csv(tmp_path / "l.csv", index=False)
    status, _, err = affcli("vote", tmp_path / "p.csv", tmp_path / "l.csv", "-o", tmp_path / "o.parquet")
    assert status == 1
    assert "holds probabilities" in err
    assert "--space probabilities" in err
    for space in ("probabilities", "logits"):
        options = ("--space", space, "-o", tmp_path / "o.parquet", "-f")
        assert affcli("vote", tmp_path / "p.csv", tmp_path / "l.csv", *options)[0] == 0
        expected = probabilities if space == "probabilities" else np.log(probabilities)
        np.testing.assert_allclose(numbers_of(tmp_path / "o.parquet"), expected, atol=1e-5)
        assert space_of(tmp_path / "o.parquet") == space


def test_a_folder_of_different_spaces_is_refused(tmp_path):
    frame_table(softmaxes(), "a").to_csv(tmp_path / "a.csv", index=False)
    frame_table(np.log(softmaxes()), "b").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(SpaceError, match=r"b\.csv holds logits, but .*a\.csv holds probabilities"):
        LogitTable(str(tmp_path))
    with LogitTable(str(tmp_path), columns=ColumnNames(space="logits")) as table:
        assert table.space == "logits"


@pytest.mark.parametrize("command", ["vote", "smooth"])
def test_a_number_too_large_for_float32_is_refused_and_does_not_become_infinite(tmp_path, affcli, command):
    (tmp_path / "t.csv").write_text("video,frame,Anger,Fear\na,1,3e38,2\na,2,,-1e39\n")
    status, _, err = affcli(command, tmp_path / "t.csv", "-o", tmp_path / "o.csv")
    assert (status, "t.csv: video 'a' has the number 1e+39, too large for float32" in err) == (1, True)
    (tmp_path / "t.csv").write_text("video,frame,Anger,Fear\na,1,3e38,2\na,2,,-3e38\n")
    assert affcli(command, tmp_path / "t.csv", "-o", tmp_path / "o.csv")[0] == 0


def test_a_calibration_is_for_numbers_of_its_own_kind(tmp_path, affcli):
    probabilities = softmaxes(80)
    table = pd.concat([frame_table(probabilities[:40], "a"), frame_table(probabilities[40:], "b")])
    table.to_csv(tmp_path / "p.csv", index=False)
    table.assign(**np.log(table[list(CLASSES)])).to_csv(tmp_path / "l.csv", index=False)
    truth = np.random.default_rng(1).integers(0, 8, 80).tolist()
    labels = write_labels(tmp_path / "labels", a=truth[:40], b=truth[40:])
    for name, other in (("p", "l"), ("l", "p")):
        made = tmp_path / f"{name}.json"
        assert affcli("calibrate", tmp_path / f"{name}.csv", "--labels", labels, "-o", made, "--bootstrap", 0)[0] == 0
        options = ("--calibration", made, "-o", tmp_path / "o.parquet", "-f")
        assert affcli("vote", tmp_path / f"{name}.csv", *options)[0] == 0
        status, _, err = affcli("vote", tmp_path / f"{other}.csv", *options)
        assert (status, f"{made} was fitted to" in err) == (1, True)
        if name == "p":
            continue
        affcli("vote", tmp_path / "p.csv", "--calibration", tmp_path / "p.json", "-o", tmp_path / "c.parquet")
        assert numbers_of(tmp_path / "c.parquet").sum(axis=1) == pytest.approx(np.ones(80), abs=1e-6)


def test_export_writes_probabilities_that_add_up_and_that_of_the_label(tmp_path, affcli):
    logits = np.log(softmaxes())
    frame_table(logits).assign(note="x").to_csv(tmp_path / "l.csv", index=False)
    status, _, _ = affcli("export", tmp_path / "l.csv", "--to", "csv", "--probabilities", "-o", tmp_path / "o.csv")
    assert status == 0
    found = pd.read_csv(tmp_path / "o.csv")
    np.testing.assert_allclose(found[list(CLASSES)].to_numpy(), scipy_softmax(logits, axis=1), atol=1e-6)
    assert found["label"].tolist() == [CLASSES[i] for i in logits.argmax(axis=1)]
    np.testing.assert_allclose(found["confidence"], scipy_softmax(logits, axis=1).max(axis=1), atol=1e-6)
    assert found["note"].tolist() == ["x"] * 30
    assert affcli("export", tmp_path / "l.csv", "--to", "vtt", "--probabilities")[0] == 2


# --- tables of affcli 0.1.0 ------------------------------------------------------------------------------------------


def old_table(file: Path, numbers: np.ndarray, **facts: object) -> Path:
    """As affcli 0.1.0 wrote it: `smooth` of a table made elsewhere did not say its space."""
    rows = frame_table(numbers.astype(np.float32)).assign(label=[CLASSES[i] for i in numbers.argmax(axis=1)])
    table = pa.Table.from_pandas(rows, preserve_index=False)
    schema = with_metadata(table.schema, kind=FRAMES, classes=list(CLASSES), **facts)
    pq.write_table(table.cast(schema), file)
    return file


@pytest.mark.parametrize(
    ("facts", "numbers", "space"),
    [
        ({"space": "logits"}, np.log(softmaxes()), "logits"),
        ({"space": "probabilities"}, softmaxes(), "probabilities"),
        ({"space": "shares"}, np.eye(8), "shares"),
        ({}, np.log(softmaxes()), "logits"),
        ({}, softmaxes(), "probabilities"),
    ],
)
def test_a_frame_table_of_0_1_0_is_what_it_says_or_looks_like(tmp_path, affcli, facts, numbers, space):
    file = old_table(tmp_path / "old.parquet", numbers, **facts)
    assert affcli("vote", file, "-o", tmp_path / "o.parquet") == (0, "", "")
    assert space_of(tmp_path / "o.parquet") == space
    np.testing.assert_allclose(numbers_of(tmp_path / "o.parquet"), numbers, atol=1e-6)
