"""Offsets for macro F1: the search against brute force, honest cross-validation, and the file."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.frame_tables import call, write_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from affcli.errors import AffcliError
from affcli.predictions.calibration import Calibration, read_calibration
from affcli.schema import CLASSES
from affcli.scoring import fit_calibration
from affcli.scoring.fit_calibration import Judged, classified, cross_validated, fit
from affcli.scoring.metrics import confusion
from affcli.scoring.report import signed


@pytest.fixture
def affcli(capsys):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    return functools.partial(call, capsys)


def frames(count: int = 400, videos: int = 8, seed: int = 0, bias: float = 0.0) -> Judged:
    """Noisy logits; every class but the first has its logits lowered by `bias`."""
    numbers = np.random.default_rng(seed)
    truth = numbers.choice(8, count, p=[0.44, *[0.08] * 7])
    logits = numbers.normal(size=(8, count))
    logits[truth, np.arange(count)] += 3
    logits[1:] -= bias
    return Judged(logits, truth, np.arange(count) % videos, tuple(f"v{i}" for i in range(videos)))


def in_sample(judged: Judged, offsets: np.ndarray) -> float:
    predicted = classified(judged.logits, offsets)
    return f1_score(judged.truth, predicted, labels=range(8), average="macro", zero_division=0)


# --- fitting ---------------------------------------------------------------------------------------------------------


halves = st.integers(-4, 4).map(lambda number: number / 2)  # coarse, so that ties occur


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_search_along_one_class_equals_brute_force_ties_included(data):
    count = data.draw(st.integers(1, 8))
    logits = np.array(data.draw(st.lists(st.lists(halves, min_size=count, max_size=count), min_size=3, max_size=3)))
    missing = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    logits[1, missing] = -np.inf
    truth = np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    offsets = np.array(data.draw(st.lists(halves, min_size=3, max_size=3)))
    number, grid = data.draw(st.integers(0, 2)), np.arange(-3, 3.5, 0.5)
    judged = Judged(logits, truth, np.zeros(count, int), ("v",))
    found = fit_calibration._confusions(judged, offsets, number, grid)
    for value, matrix in zip(grid, found, strict=True):
        tried = offsets.copy()
        tried[number] = value
        assert (matrix == confusion(truth, classified(logits, tried), classes=3)).all()


def test_a_known_bias_is_undone():
    judged = frames(bias=4.0)
    assert in_sample(judged, np.zeros(8)) < 0.5
    assert in_sample(judged, fit(judged)) > 0.99 * in_sample(judged, np.array([-4.0, *[0] * 7]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(10, 60))
def test_fitting_never_loses_on_the_frames_it_is_fitted_to(seed, count):
    judged = frames(count, seed=seed, bias=1.0)
    offsets = fit(judged)
    assert in_sample(judged, offsets) >= in_sample(judged, np.zeros(8))
    assert offsets.mean() == pytest.approx(0, abs=1e-12)


def test_an_offset_of_nothing_is_0(monkeypatch):
    best = np.array([0.1, 0.2, 0.3])  # 0.2 less their mean is -2.8e-17
    monkeypatch.setattr(fit_calibration, "_best_offset", lambda judged, offsets, number, grid: (best[number], 0.0))
    few = frames(20)
    found = fit(Judged(few.logits[:3], few.truth % 3, few.video, few.videos))
    assert found.tolist() == [-0.1, 0, 0.1]
    assert not np.signbit(found[1])


def test_differences_that_round_to_nothing_have_no_minus():
    assert [signed(number) for number in (-0.0, -1.6e-16, -4e-5, -6e-5, 0.5)] == [
        *["+0.0000"] * 3,
        *("-0.0001", "+0.5000"),
    ]


def test_logits_without_spread_or_with_gaps_are_fitted_too():
    judged = frames(20)
    flat = Judged(np.zeros((8, 20)), judged.truth, judged.video, judged.videos)
    assert np.isfinite(fit(flat)).all()
    gaps = judged.logits.copy()
    gaps[3:6, ::3] = -np.inf
    assert np.isfinite(fit(Judged(gaps, judged.truth, judged.video, judged.videos))).all()


# --- cross-validation ------------------------------------------------------------------------------------------------


def test_a_video_is_judged_without_its_own_labels():
    judged = frames(bias=2.0)
    other = judged.truth.copy()
    other[judged.video == 3] = (other[judged.video == 3] + 1) % 8
    changed = Judged(judged.logits, other, judged.video, judged.videos)
    one, two = (cross_validated(each, folds=8, seed=0) for each in (judged, changed))
    assert (one[judged.video == 3] == two[judged.video == 3]).all()
    assert (one != two).any()


def test_each_fold_is_fitted_to_all_other_videos(monkeypatch):
    seen = []
    monkeypatch.setattr(fit_calibration, "fit", lambda judged: seen.append(set(judged.video)) or np.zeros(8))
    cross_validated(frames(videos=7), folds=3, seed=0)
    assert sorted(map(len, seen)) == [4, 5, 5]
    assert sorted(video for fold in seen for video in set(range(7)) - fold) == list(range(7))


# --- the file --------------------------------------------------------------------------------------------------------


def test_offsets_are_added_by_name():
    found = Calibration(("A", "B"), (1.0, -2.0)).apply(np.array([[0.0, 0.5], [np.nan, 1.0]]), ("B", "A"))
    np.testing.assert_array_equal(found, [[-2.0, 1.5], [np.nan, 2.0]])


def test_offsets_for_other_classes_or_numbers_are_refused():
    offsets = Calibration(("A", "B"), (1.0, -2.0), "probabilities")
    offsets.check(("B", "A"), "probabilities")
    with pytest.raises(AffcliError, match="for the classes A, B, not B, C"):
        offsets.check(("B", "C"), "probabilities")
    with pytest.raises(AffcliError, match="fitted to probabilities, but these numbers are logits"):
        offsets.check(("A", "B"), "logits")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"kind": "model"}',
        '{"kind": "calibration", "version": 2, "space": "logits", "offsets": {}}',
        '{"kind": "calibration", "version": 1, "space": "logits", "offsets": {"Fear": "much"}}',
        '{"kind": "calibration", "version": 1, "space": "logits", "offsets": {"Fear": NaN}}',
    ],
)
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(
        AffcliError, match=r"c\.json: .*(not a calibration|not JSON|no JSON object|not a JSON object|offsets)"
    ):
        read_calibration(str(tmp_path / "c.json"))


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def biased(tmp_path) -> tuple[Path, Path]:
    """A table whose logits favour Neutral, and its labels."""
    judged = frames(600, videos=6, bias=4.0)
    table = pd.DataFrame(judged.logits.T.astype(np.float32), columns=list(CLASSES))
    table.insert(0, "video", [judged.videos[i] for i in judged.video])
    table.insert(1, "frame", np.arange(600) // 6 + 1)
    table.to_parquet(tmp_path / "F.parquet")
    truth = {name: judged.truth[judged.video == i].tolist() for i, name in enumerate(judged.videos)}
    return tmp_path / "F.parquet", write_labels(tmp_path / "labels", **truth)


def test_the_file_says_what_was_gained_on_videos_not_fitted_to(tmp_path, affcli, biased):
    table, labels = biased
    status, out, err = affcli("calibrate", table, "--labels", labels, "-o", tmp_path / "c.json", "--bootstrap", 100)
    assert status == 0, err
    found = json.loads((tmp_path / "c.json").read_text())
    plain = json.loads(affcli("score", table, "--labels", labels, "--json")[1])
    assert found["macro_f1"] == plain["macro_f1"]
    assert found["gain"] == pytest.approx(found["macro_f1_cross_validated"] - found["macro_f1"])
    assert 0.2 < found["gain_ci"][0] <= found["gain"] <= found["gain_ci"][1]
    assert (found["frames"], found["videos"], found["folds"], found["space"]) == (600, 6, 5, "logits")
    for words in ("as it is", "cross-validated", f"{found['gain']:+.4f}", f"{found['offsets']['Fear']:+.4f}"):
        assert words in out
    assert read_calibration(str(tmp_path / "c.json")).by_class == found["offsets"]


def test_vote_applies_the_file_and_the_score_rises(tmp_path, affcli, biased):
    table, labels = biased
    affcli("calibrate", table, "--labels", labels, "-o", tmp_path / "c.json")
    assert affcli("vote", table, "-o", tmp_path / "V.parquet")[0] == 0
    status, _, err = affcli("vote", table, "--calibration", tmp_path / "c.json", "-o", tmp_path / "C.parquet")
    assert status == 0, err
    plain, raised = (pd.read_parquet(tmp_path / name) for name in ("V.parquet", "C.parquet"))
    offsets = json.loads((tmp_path / "c.json").read_text())["offsets"]
    assert list(offsets) == list(CLASSES)
    expected = plain[list(CLASSES)].to_numpy(float) + np.array(list(offsets.values()))
    np.testing.assert_allclose(raised[list(CLASSES)], expected, atol=1e-5)
    assert (raised["label"] == np.array(CLASSES)[raised[list(CLASSES)].to_numpy().argmax(1)]).all()
    one, two = (
        json.loads(affcli("score", tmp_path / name, "--labels", labels, "--json")[1])["macro_f1"]
        for name in ("V.parquet", "C.parquet")
    )
    assert two > one + 0.2


def test_a_calibration_of_logits_is_not_added_to_probabilities(tmp_path, affcli, biased):
    table, labels = biased
    affcli("calibrate", table, "--labels", labels, "-o", tmp_path / "c.json")
    arguments = ("--calibration", tmp_path / "c.json", "--space", "probabilities", "-o", tmp_path / "C.parquet")
    status, _, err = affcli("vote", table, *arguments)
    assert (status, err.count("\n")) == (1, 1)
    assert f"{tmp_path / 'c.json'} was fitted to logits" in err


def test_a_calibration_for_other_classes_is_named(tmp_path, affcli, biased):
    table, labels = biased
    affcli("calibrate", table, "--labels", labels, "-o", tmp_path / "c.json")
    found = json.loads((tmp_path / "c.json").read_text())
    del found["offsets"]["Fear"]
    (tmp_path / "c.json").write_text(json.dumps(found))
    status, _, err = affcli("vote", table, "--calibration", tmp_path / "c.json", "-o", tmp_path / "C.parquet")
    assert (status, err.count("\n")) == (1, 1)
    assert f"{tmp_path / 'c.json'} is for the classes Neutral, Anger, Disgust, Happiness, " in err


def test_missing_logits_are_never_chosen(tmp_path, affcli, biased):
    table, labels = biased
    gaps = pd.read_parquet(table)
    gaps.loc[::3, "Anger"] = np.nan
    gaps.to_parquet(table)
    status, _, err = affcli("calibrate", table, "--labels", labels, "-o", tmp_path / "c.json")
    assert status == 0, err
    plain = json.loads(affcli("score", table, "--labels", labels, "--json")[1])
    assert json.loads((tmp_path / "c.json").read_text())["macro_f1"] == plain["macro_f1"]


def test_the_same_input_gives_the_same_bytes_and_nothing_else_on_standard_output(tmp_path, affcli, biased):
    table, labels = biased
    one = affcli("calibrate", table, "--labels", labels, "-o", "-", "-q")
    two = affcli("calibrate", table, "--labels", labels, "-o", tmp_path / "c.json", "-q")
    assert (one[0], two[0]) == (0, 0)
    assert one[1] == (tmp_path / "c.json").read_text()
    assert affcli("calibrate", table, "--labels", labels, "-o", tmp_path / "c.json")[0] == 1


def test_labels_alone_cannot_be_calibrated(tmp_path, affcli, biased):
    _, labels = biased
    pd.DataFrame({"video": "v0", "frame": [1, 2], "label": "Fear"}).to_csv(tmp_path / "l.csv", index=False)
    status, _, err = affcli("calibrate", tmp_path / "l.csv", "--labels", labels, "-o", tmp_path / "c.json")
    assert status == 1
    assert "l.csv has labels but no logits" in err


def test_people_of_one_recording_are_in_one_fold():
    generator = np.random.default_rng(0)
    names = ("x_left", "x_right", "y")
    logits, truth = generator.normal(size=(8, 60)), generator.integers(0, 8, 60)
    pair = Judged(logits, truth, np.repeat(np.arange(3), 20), names)
    one = Judged(logits, truth, np.repeat([0, 0, 1], 20), ("x", "y"))
    assert (cross_validated(pair, folds=3, seed=0) == cross_validated(one, folds=2, seed=0)).all()


def test_one_video_is_not_enough(tmp_path, affcli, biased):
    table, labels = biased
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "v0.txt").write_bytes((labels / "v0.txt").read_bytes())
    status, out, err = affcli("calibrate", table, "--labels", tmp_path / "one", "-o", tmp_path / "c.json", "-q")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "only one recording" in err
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offsets": {"A": 10**400}}, "offsets are not one number a class"),
        ({"offsets": {"A": 1e9}}, "offsets are not one number a class"),
        ({"offsets": {"A": float("nan")}}, "offsets are not one number a class"),
        ({"offsets": {"A": True}}, "offsets are not one number a class"),
        ({"offsets": {}}, "offsets are not one number a class"),
        ({"offsets": [1, 2]}, "offsets are not one number a class"),
        ({"space": "labels"}, "none of logits, probabilities, shares"),
        ({"space": ["logits"]}, "none of logits, probabilities, shares"),
        ({"kind": 3}, "not a calibration"),
        ({"version": None}, "not a calibration"),
    ],
)
def test_a_calibration_is_checked_at_the_door(tmp_path, change, said):
    sound = {"kind": "calibration", "version": 1, "space": "logits", "offsets": {"A": 0.5, "B": -1}}
    (tmp_path / "c.json").write_text(json.dumps(sound))
    assert read_calibration(str(tmp_path / "c.json")).by_class == {"A": 0.5, "B": -1.0}
    (tmp_path / "c.json").write_text(json.dumps({**sound, **change}))
    with pytest.raises(AffcliError, match=said) as caught:
        read_calibration(str(tmp_path / "c.json"))
    assert str(caught.value).startswith(f"{tmp_path / 'c.json'}: ")
