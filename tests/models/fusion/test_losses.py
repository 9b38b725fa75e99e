"""Losses, label smoothing, averaged weights and frame weights of `affcli train`, each against its formula by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.feature_tables import class_features, write_audio, write_labels, write_visual
from helpers.runners import Affcli
from torch import Tensor

from affcli.errors import LabelError
from affcli.features.joined import JoinedFeatures
from affcli.features.stream import FeatureTable
from affcli.labels.reader import LabelOptions, read_labels
from affcli.models.fusion.dataset import TrainingSet
from affcli.models.fusion.network import FusionConfig
from affcli.models.fusion.trainer import Loss, Trainer, TrainingOptions
from affcli.models.runtime import devices

LABELS = {"a": [0] * 50 + [4] * 20 + [-1] * 5 + [1] * 10, "b": [5] * 33}
CONFIG = FusionConfig(visual_size=6, audio_size=4, window=8, dim=8, layers=1, heads=2, dropout=0.0)
OPTIONS = TrainingOptions(
    modality_dropout=0.0, audio_dropout=0.0, gamma=2.0, class_weights="none", stride=4, epochs=2, patience=0, lr=1e-2,
    weight_decay=0.01, batch_size=8, seed=0,
)  # fmt: skip
CPU = devices.choose("cpu", "fp32")
COUNTS = np.array([50, 10, 0, 0, 20, 33, 0, 0])
NUMBERS = torch.tensor([[0, -1, 4], [1, 5, 0]])


def loss_of(frame_weights: Tensor | None = None, **chosen: object) -> float:
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 8)
    loss = Loss(replace(OPTIONS, **chosen), COUNTS, torch.device("cpu"))
    judged = NUMBERS >= 0
    count = judged.sum() if frame_weights is None else (judged * frame_weights).sum()
    return float(loss(logits, NUMBERS, frame_weights, count))


def by_hand(
    *, gamma: float = 0, smoothing: float = 0, adjusted: bool = False, weights: list[list[float]] | None = None
) -> float:
    """−Σ_i w_i Σ_c t_c (1 − p_c)^γ log p_c / Σ_i w_i over the labelled frames, in plain floats."""
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 8).tolist()
    total = divisor = 0.0
    for row in range(2):
        for frame in range(3):
            label = int(NUMBERS[row, frame])
            if label < 0:
                continue
            shares = [max(count, 1) for count in COUNTS]
            raised = [
                x + (math.log(share / sum(shares)) if adjusted else 0)
                for x, share in zip(logits[row][frame], shares, strict=True)
            ]
            p = [math.exp(x) / sum(map(math.exp, raised)) for x in raised]
            target = [smoothing / 8 + (1 - smoothing) * (one == label) for one in range(8)]
            weight = 1.0 if weights is None else weights[row][frame]
            total -= weight * sum(t * (1 - q) ** gamma * math.log(q) for t, q in zip(target, p, strict=True))
            divisor += weight
    return total / divisor


def test_each_loss_is_its_formula() -> None:
    assert loss_of() == pytest.approx(by_hand(gamma=2), rel=1e-5)
    assert loss_of(loss="focal", gamma=0.5) == pytest.approx(by_hand(gamma=0.5), rel=1e-5)
    assert loss_of(loss="cross-entropy") == pytest.approx(by_hand(), rel=1e-5)
    assert loss_of(loss="logit-adjusted") == pytest.approx(by_hand(adjusted=True), rel=1e-5)


def test_cross_entropy_is_torchs_also_smoothed() -> None:
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 8).flatten(0, 1)
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(
            logits, NUMBERS.flatten(), ignore_index=-1, label_smoothing=smoothing
        )
        assert loss_of(loss="cross-entropy", label_smoothing=smoothing) == pytest.approx(float(expected), rel=1e-5)


def test_smoothing_spreads_labels_in_every_loss() -> None:
    assert loss_of(label_smoothing=0.2) == pytest.approx(by_hand(gamma=2, smoothing=0.2), rel=1e-5)
    adjusted = by_hand(adjusted=True, smoothing=0.2)
    assert loss_of(loss="logit-adjusted", label_smoothing=0.2) == pytest.approx(adjusted, rel=1e-5)


def test_frame_weights_make_a_weighted_mean_in_which_0_is_no_label() -> None:
    weights = [[0.5, 9.0, 0.25], [0.0, 1.0, 0.125]]
    assert loss_of(torch.tensor(weights)) == pytest.approx(by_hand(gamma=2, weights=weights), rel=1e-5)
    assert loss_of(torch.full((2, 3), 0.01)) == pytest.approx(loss_of(), rel=1e-5)
    assert loss_of(torch.zeros(2, 3)) == 0


def data_of(folder: Path, labels: Path | None = None, options: LabelOptions | None = None) -> TrainingSet:
    tables = (
        write_visual(folder / "V.parquet", class_features(LABELS, 6)),
        write_audio(folder / "A.parquet", class_features(LABELS, 4, seed=9)),
    )
    read = read_labels(str(labels or write_labels(folder / "labels", LABELS)), options)
    with JoinedFeatures(*(FeatureTable(str(table)) for table in tables), sizes=(0, 0)) as joined:
        return TrainingSet.load(joined, read, window=8, stride=4)


def label_table(folder: Path, weights: dict[str, list[object]]) -> Path:
    rows = ["video,frame,label,sure"]
    for video, numbers in LABELS.items():
        pairs = list(enumerate(zip(numbers, weights[video], strict=True), start=1))[::-1]  # in any order
        rows += [f"{video},{frame},{number},{weight}" for frame, (number, weight) in pairs]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


def test_frames_that_weigh_nothing_teach_nothing(tmp_path: Path) -> None:
    rest = {video: [0.0] * len(numbers) for video, numbers in LABELS.items()}
    rest["a"][:20] = [0.5] * 20
    weighed = data_of(tmp_path, label_table(tmp_path, rest), LabelOptions(weights="sure"))
    few = {"a": LABELS["a"][:20], "b": []}
    plain = data_of(tmp_path, write_labels(tmp_path / "few", few))
    # all windows of both, so that the batches are the same
    plain = replace(plain, windows=weighed.windows)
    outcomes = []
    for data in (weighed, plain):
        trainer = Trainer(CONFIG, OPTIONS, data, None, CPU)
        trainer.epoch(1)
        outcomes.append(trainer.weights())
    for one, other in zip(outcomes[0].values(), outcomes[1].values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", ["-1", "", "nan"])
def test_a_weight_of_a_labelled_frame_must_be_a_number_of_at_least_0(tmp_path: Path, wrong: str) -> None:
    weights: dict[str, list[object]] = {video: [1.0] * len(numbers) for video, numbers in LABELS.items()}
    weights["a"][72] = "-7" if wrong != "" else ""  # of an unlabelled frame: no matter
    table = label_table(tmp_path, weights)
    assert read_labels(str(table), LabelOptions(weights="sure"))["a"].weights is not None
    weights["a"][3] = wrong
    with pytest.raises(LabelError, match="column 'sure' holds"):
        read_labels(str(label_table(tmp_path, weights)), LabelOptions(weights="sure"))
    with pytest.raises(LabelError, match="label texts have no column 'sure'"):
        read_labels(str(write_labels(tmp_path / "labels", LABELS)), LabelOptions(weights="sure"))


def test_the_average_of_the_weights_is_its_formula(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    plain = Trainer(CONFIG, OPTIONS, data, None, CPU)
    averaged = Trainer(CONFIG, replace(OPTIONS, ema=0.9), data, None, CPU)
    expected = {name: tensor.double() for name, tensor in plain.weights().items()}
    taken: list[dict[str, Tensor]] = []
    step = plain._step
    plain._step = lambda *given: (step(*given), taken.append(plain.weights()))[0]  # type: ignore[method-assign]
    for number in (1, 2):
        plain.epoch(number)
        averaged.epoch(number)
    for index, weights in enumerate(taken):
        kept = min(0.9, (1 + index) / (10 + index))
        expected = {name: kept * old + (1 - kept) * weights[name].double() for name, old in expected.items()}
    for name, tensor in averaged.weights().items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6)
    for one, other in zip(plain.weights().values(), averaged.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_an_interrupted_training_with_an_average_ends_with_the_same_bytes(
    tmp_path: Path, affcli: Affcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_of(tmp_path)
    how = ("--dim", 8, "--layers", 1, "--heads", 2, "--window", 8, "--stride", 4, "--ema", 0.9, "--epochs", 3)
    tables = ("train", "--visual", "V.parquet", "--audio", "A.parquet", "--labels", "labels", "--val-labels", "labels")
    affcli(*tables, *how, "-o", "whole.safetensors")
    epoch = Trainer.epoch

    def interrupted(self: Trainer, number: int) -> object:
        if number == 3:
            raise KeyboardInterrupt
        return epoch(self, number)

    monkeypatch.setattr(Trainer, "epoch", interrupted)
    affcli(*tables, *how, "-o", "parts.safetensors", status=130)
    monkeypatch.setattr(Trainer, "epoch", epoch)
    assert "going on after epoch 2" in affcli(*tables, *how, "-o", "parts.safetensors").stderr
    assert (tmp_path / "parts.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_options_that_contradict_each_other_are_refused(tmp_path: Path, affcli: Affcli) -> None:
    data_of(tmp_path)
    tables = ("train", "--visual", "V.parquet", "--audio", "A.parquet", "--labels", "labels", "-o", "m.safetensors")
    told = affcli(*tables, "--loss", "cross-entropy", "--gamma", 1, status=2).stderr
    assert "--gamma is of the focal loss" in told
    assert "label texts have no column" in affcli(*tables, "--frame-weights", "sure", status=1).stderr
