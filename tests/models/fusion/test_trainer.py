"""What the trainer's steps are made of: which windows lose a stream, which loss is taken, how large a step may be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.feature_tables import class_features, write_audio, write_labels, write_visual
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from affcli.features.joined import JoinedFeatures
from affcli.features.stream import FeatureTable
from affcli.labels.reader import read_labels
from affcli.models.fusion.dataset import TrainingSet
from affcli.models.fusion.network import FusionConfig
from affcli.models.fusion.trainer import Trainer, TrainingOptions, balanced_weights
from affcli.models.runtime import devices
from affcli.models.training.losses import focal_loss

LABELS = {"a": [0] * 500 + [4] * 300 + [1] * 200}
CONFIG = FusionConfig(visual_size=6, audio_size=4, window=8, dim=8, layers=1, heads=2, dropout=0.0)
OPTIONS = TrainingOptions(
    modality_dropout=0.0,
    audio_dropout=0.0,
    gamma=2.0,
    class_weights="none",
    stride=1,
    epochs=3,
    patience=0,
    lr=1e-3,
    weight_decay=0.01,
    batch_size=32,
    seed=0,
)
CPU = devices.choose("cpu", "fp32")


def data_of(folder: Path, *, pictures: int = 0) -> TrainingSet:
    """993 windows of 8 frames, all with face and sound; `pictures` is the seed of their noise."""
    tables = (
        write_visual(folder / "visual.parquet", class_features(LABELS, 6, seed=pictures)),
        write_audio(folder / "audio.parquet", class_features(LABELS, 4, seed=9)),
    )
    labels = read_labels(str(write_labels(folder / "labels", LABELS)))
    with JoinedFeatures(*(FeatureTable(str(table)) for table in tables), sizes=(0, 0)) as joined:
        return TrainingSet.load(joined, labels, window=8, stride=1)


def test_each_window_loses_its_stream_by_itself_at_the_rates_that_were_asked_for(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, replace(OPTIONS, modality_dropout=0.3, audio_dropout=0.2), data_of(tmp_path), None, CPU)
    faces, sounds = [], []

    def look(network: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        faces.append(given[1])
        sounds.append(given[3])

    trainer.network.register_forward_pre_hook(look)
    for number in (1, 2, 3):
        trainer.epoch(number)
    face, sound = torch.cat(faces), torch.cat(sounds)
    assert len(face) == 3 * 993
    assert torch.equal(face.any(dim=1), face.all(dim=1))
    assert torch.equal(sound.any(dim=1), sound.all(dim=1))
    unseen, unheard = ~face[:, 0], ~sound[:, 0]
    assert not (unseen & unheard).any()
    assert unseen.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert unheard.float().mean().item() == pytest.approx(0.2, abs=0.03)
    # not batch by batch: in each, some windows have pictures and some have none
    assert all(0 < batch[:, 0].sum() < len(batch) for batch in faces if len(batch) == OPTIONS.batch_size)


def test_pictures_that_are_always_hidden_are_not_learnt_from(tmp_path: Path) -> None:
    def trained(rate: float, pictures: int) -> dict[str, Tensor]:
        data = data_of(tmp_path, pictures=pictures)
        trainer = Trainer(CONFIG, replace(OPTIONS, modality_dropout=rate), data, None, CPU)
        trainer.epoch(1)
        return trainer.weights()

    for rate in (0.0, 1.0):
        one, other = trained(rate, 1), trained(rate, 2)
        assert all(torch.equal(one[name], other[name]) for name in one) == (rate == 1)


@pytest.mark.parametrize(("gamma", "class_weights"), [(2.0, "none"), (0.0, "none"), (0.5, "balanced")])
def test_the_loss_of_an_epoch_is_the_focal_loss_that_was_asked_for(
    tmp_path: Path, gamma: float, class_weights: str
) -> None:
    data = data_of(tmp_path)
    every = torch.arange(len(data.windows))
    options = replace(OPTIONS, gamma=gamma, class_weights=class_weights, batch_size=len(every))
    trainer = Trainer(CONFIG, options, data, None, CPU)
    *inputs, labels = data.batch(every)
    weights = balanced_weights(np.bincount(LABELS["a"], minlength=8)) if class_weights == "balanced" else None
    with torch.no_grad():
        expected = focal_loss(trainer.network(*inputs), labels, gamma=gamma, class_weights=weights)
    assert trainer.epoch(1).loss == pytest.approx(expected.item(), rel=1e-5)


def test_every_step_is_told_as_a_part_of_its_epoch(tmp_path: Path) -> None:
    told: list[tuple[float, int]] = []
    trainer = Trainer(CONFIG, OPTIONS, data_of(tmp_path), None, CPU, tell=lambda *one: told.append(one))
    trainer.epoch(2)
    assert [epochs for epochs, _ in told] == pytest.approx(np.linspace(1, 2, 33)[1:])  # 993 / 32 is 31 and a part
    assert sum(windows for _, windows in told) == 993


def test_no_step_follows_a_gradient_longer_than_one(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, OPTIONS, data_of(tmp_path), None, CPU)
    with torch.no_grad():
        trainer.network.classify[-1].weight.mul_(100)  # sure of what it has not learnt yet
    lengths = []

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients = [
            p.grad.flatten() for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        lengths.append(torch.cat(gradients).norm().item())

    hook = register_optimizer_step_pre_hook(look)
    try:
        trainer.epoch(1)
    finally:
        hook.remove()
    assert max(lengths) == pytest.approx(1, abs=1e-3)
