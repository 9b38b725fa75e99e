"""The temperature: the likelihood's maximum, the calibration error by hand, honest cross-validation, and its file."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.feature_tables import write_labels
from helpers.frame_tables import call

from affcli.errors import AffcliError, SpaceError
from affcli.predictions.calibration import Calibration, read_calibration
from affcli.schema import CLASSES
from affcli.scoring.fit_calibration import Judged
from affcli.scoring.fit_temperature import (
    at_temperature,
    calibration_error,
    fit_temperature,
    judged_temperature,
    sureness,
)


@pytest.fixture
def affcli(capsys):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    return functools.partial(call, capsys)


def drawn(temperature: float, count: int = 4000, videos: int = 8, seed: int = 0) -> Judged:
    """Logits whose labels were drawn at a temperature: softmax(logits / T) is what they really follow."""
    numbers = np.random.default_rng(seed)
    logits = 2.5 * numbers.normal(size=(8, count))
    p = np.exp(logits / temperature)
    truth = (numbers.random(count) > (p / p.sum(0)).cumsum(0)).sum(0).clip(max=7)
    return Judged(logits, truth, np.arange(count) % videos, tuple(f"v{i}" for i in range(videos)))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature: float) -> None:
    assert fit_temperature(drawn(temperature), "logits") == pytest.approx(temperature, rel=0.06)


def test_the_temperature_is_the_one_with_the_largest_likelihood() -> None:
    from sklearn.metrics import log_loss

    judged = drawn(2.0, 500)
    found = fit_temperature(judged, "logits")
    losses = {
        t: log_loss(judged.truth, softmax(judged.logits / t).T, labels=range(8))
        for t in (found, found * 1.02, found / 1.02)
    }
    assert min(losses, key=losses.__getitem__) == found
    assert sureness(judged, "logits", found).log_loss == pytest.approx(losses[found])


def test_probabilities_have_the_temperature_of_their_logits() -> None:
    judged = drawn(2.0, 600)
    probabilities = Judged(softmax(judged.logits), judged.truth, judged.video, judged.videos)
    found = fit_temperature(probabilities, "probabilities")
    assert found == pytest.approx(fit_temperature(judged, "logits"), rel=1e-3)
    scaled = at_temperature(probabilities, "probabilities", found).logits
    np.testing.assert_allclose(scaled, softmax(judged.logits / found), atol=1e-4)


def test_the_calibration_error_is_its_sum_over_bins() -> None:
    confidence = np.array([0.05, 0.5, 0.52, 0.99, 1.0, 1 / 15])
    right = np.array([True, False, True, True, False, False])
    # bins of a fifteenth, open below: {0.05, 1/15}, {0.5, 0.52}, {0.99, 1.0}
    expected = (abs(1 - 0.05 - 1 / 15) + abs(1 - 1.02) + abs(1 - 1.99)) / 6
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_each_video_is_judged_at_the_temperature_of_the_others() -> None:
    one, other = drawn(1.0, 400, 4), drawn(4.0, 400, 4, seed=1)
    both = Judged(
        np.concatenate([one.logits, other.logits], 1),
        np.concatenate([one.truth, other.truth]),
        np.repeat([0, 1], 400),
        ("a", "b"),
    )
    before, after = judged_temperature(both, "logits", folds=2, seed=0)
    parts = [
        sureness(one, "logits", fit_temperature(other, "logits")),
        sureness(other, "logits", fit_temperature(one, "logits")),
    ]
    assert after.log_loss == pytest.approx(np.mean([part.log_loss for part in parts]))
    assert before.log_loss == pytest.approx(sureness(both, "logits", 1.0).log_loss)


def test_what_has_no_temperature_is_refused() -> None:
    judged = drawn(1.0, 50)
    with pytest.raises(SpaceError, match="shares of votes have no temperature"):
        fit_temperature(judged, "shares")
    unknown = np.full_like(judged.logits, -np.inf)
    unknown[7] = 1
    with pytest.raises(AffcliError, match="no labelled frame is of a class that the model knows"):
        fit_temperature(Judged(unknown, np.zeros(50, int), judged.video, judged.videos), "logits")


def written(folder: Path, judged: Judged) -> None:
    rows = pd.DataFrame(judged.logits.T.astype(np.float32), columns=list(CLASSES))
    rows.insert(0, "frame", np.arange(judged.truth.size) // len(judged.videos) + 1)
    rows.insert(0, "video", [judged.videos[i] for i in judged.video])
    rows.to_parquet(folder / "F.parquet")
    write_labels(folder / "labels", {
        name: judged.truth[judged.video == i].tolist() for i, name in enumerate(judged.videos)
    })  # fmt: skip


def test_calibrate_reports_both_errors_and_vote_applies_the_temperature(affcli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    judged = drawn(3.0, 1600)
    written(tmp_path, judged)
    status, told, _ = affcli("calibrate", "F.parquet", "--labels", "labels", "--temperature", "-o", "t.json")
    assert status == 0
    assert "expected calibration error" in told
    assert "offset" not in told
    facts = json.loads((tmp_path / "t.json").read_text())
    assert facts["version"] == 2
    assert set(facts["offsets"].values()) == {0.0}
    assert facts["temperature"] == pytest.approx(3, rel=0.1)
    assert facts["ece_cross_validated"] < 0.05 < facts["ece"]
    assert affcli("vote", "F.parquet", "--calibration", "t.json", "-o", "C.parquet")[0] == 0
    found, before = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("C", "F"))
    before = before.sort_values(["video", "frame"])
    np.testing.assert_allclose(found[list(CLASSES)], before[list(CLASSES)] / facts["temperature"], rtol=1e-5)


def test_thresholds_and_temperature_go_together(affcli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, drawn(3.0, 800))
    for name, flags in (("both", ("--temperature", "--thresholds")), ("plain", ()), ("named", ("--thresholds",))):
        status, told, _ = affcli("calibrate", "F.parquet", "--labels", "labels", *flags, "-o", f"{name}.json")
        assert status == 0
        assert "offset" in told
    both, plain = (read_calibration(f"{name}.json") for name in ("both", "plain"))
    assert (tmp_path / "plain.json").read_bytes() == (tmp_path / "named.json").read_bytes()
    assert json.loads((tmp_path / "plain.json").read_text())["version"] == 1
    np.testing.assert_allclose(np.array(both.offsets) * both.temperature, plain.offsets, atol=1e-5)


def test_a_file_with_an_odd_temperature_is_refused(tmp_path: Path) -> None:
    facts = {"kind": "calibration", "version": 2, "space": "logits", "offsets": {"Neutral": 0}, "temperature": 2}
    (tmp_path / "c.json").write_text(json.dumps(facts))
    assert read_calibration(str(tmp_path / "c.json")) == Calibration(("Neutral",), (0.0,), "logits", 2.0)
    for odd in (0, -1, "2", None, True, 1e9):
        (tmp_path / "c.json").write_text(json.dumps({**facts, "temperature": odd}))
        with pytest.raises(AffcliError, match="whose temperature is"):
            read_calibration(str(tmp_path / "c.json"))
