"""What the experiments on synthetic data share: training on it, and scores on its test videos."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from synthetic import FRAMES, RARE, SIZE, VIDEOS, World, write

from affcli.features.joined import JoinedFeatures
from affcli.features.stream import FeatureTable
from affcli.labels.reader import read_labels
from affcli.models.fusion.dataset import TrainingSet, ValidationSet
from affcli.models.fusion.inference import voted
from affcli.models.fusion.network import FusionConfig, FusionNetwork
from affcli.models.fusion.trainer import Trainer, TrainingOptions
from affcli.models.runtime import devices
from affcli.predictions.smooth import median
from affcli.schema import CLASSES
from affcli.scoring import metrics

# Twice as many videos to test on as to train on: they cost little, and rare classes need them.
SETS = {"Train_Set": {"count": VIDEOS, "frames": FRAMES}, "Test_Set": {"count": VIDEOS, "frames": FRAMES}}
CPU = devices.Runtime(torch.device("cpu"), "fp32")
BATCH = 256  # windows at a time in prediction


@dataclass(frozen=True)
class Data:
    """One draw of synthetic data: what is trained on, and held-out videos as they are and without their pictures."""

    train: TrainingSet
    test: ValidationSet

    @classmethod
    def draw(cls, seed: int, *, stride: int) -> Data:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder, World(seed), SETS)
            tables = (FeatureTable(str(folder / f"{stream}.parquet")) for stream in ("visual", "audio"))
            with JoinedFeatures(*tables, sizes=(0, 0)) as joined:
                labels = {of: read_labels(str(folder / of)) for of in SETS}
                train = TrainingSet.load(joined, labels["Train_Set"], window=64, stride=stride)
                return cls(train, ValidationSet.load(joined, labels["Test_Set"]))

    @property
    def without_pictures(self) -> ValidationSet:
        frames = self.test.frames
        return replace(self.test, frames=replace(frames, visual_valid=torch.zeros_like(frames.visual_valid)))


@dataclass(frozen=True)
class Figures:
    """Scores of one network's predictions over all labelled test frames."""

    macro_f1: float
    rare_f1: float  # mean F1 of the rare classes
    accuracy: float

    @classmethod
    def of(cls, test: ValidationSet, logits: NDArray[np.float64], *, kernel: int) -> Figures:
        """After a median over `kernel` frames of each video."""
        predicted = np.empty(len(logits), np.int64)
        for first, last in zip(test.frames.offsets[:-1], test.frames.offsets[1:], strict=True):
            own = np.ascontiguousarray(logits[first:last].T, np.float32)
            predicted[first:last] = median(own, kernel, np.ones_like(own, np.bool_)).argmax(axis=0)
        confusion = metrics.confusion(test.truth, predicted[test.row])
        rare = metrics.f1(confusion)[[CLASSES.index(name) for name in RARE]]
        return cls(float(metrics.macro_f1(confusion)), float(rare.mean()), float(metrics.accuracy(confusion)))


def network_of(**parts: object) -> FusionConfig:
    """A small network for features of SIZE numbers: d 64, 2 layers."""
    sizes = {"visual_size": SIZE, "audio_size": SIZE, "dim": 64, "layers": 2, "heads": 4}
    return FusionConfig(**{**sizes, **parts})  # type: ignore[arg-type]  # options by name


def trained(config: FusionConfig, options: TrainingOptions, data: Data) -> FusionNetwork:
    """The network after its last epoch; with an average of its weights, where the options ask for one."""
    trainer = Trainer(config, options, data.train, None, CPU)
    for number in range(1, options.epochs + 1):
        trainer.epoch(number)
    trainer.network.load_state_dict(trainer.weights())
    return trainer.network.eval()


def predicted(network: FusionNetwork, test: ValidationSet, *, stride: int = 8) -> NDArray[np.float64]:
    """Voted logits [frames, classes] of the test videos."""
    return voted(network, test.frames, CPU, window=64, stride=stride, batch_size=BATCH)
