"""Trains the fusion network: windows of feature tables and labels → the best epoch's weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli import metrics
from affcli.annotations import VideoLabels
from affcli.errors import AffcliError
from affcli.features import JoinedFeatures, no_common_videos
from affcli.models.fusion import FusionConfig, FusionNetwork, focal_loss, hide_streams
from affcli.models.inference import windowed_logits
from affcli.models.runtime import Runtime
from affcli.models.windows import window_rows, window_starts
from affcli.schema import CLASSES, NOT_ANNOTATED

_LARGEST_GRADIENT = 1.0  # norm to which gradients are clipped
_WARM_UP = 0.1  # share of the steps in which the rate rises from 0


@dataclass(frozen=True)
class TrainingOptions:
    """What `affcli train` can be told about training; it stands in the model's card."""

    modality_dropout: float
    audio_dropout: float
    gamma: float
    class_weights: str  # none, balanced
    stride: int
    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class EpochReport:
    """One line of `--log`; validation figures are None without validation labels."""

    epoch: int
    loss: float
    lr: float
    windows: int
    seconds: float
    val_macro_f1: float | None = None
    val_accuracy: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Trained:
    """The network with the weights of the epoch that is kept, and that epoch's report."""

    network: FusionNetwork
    kept: EpochReport

    @property
    def validation(self) -> dict[str, Any] | None:
        """What the card says of the kept epoch's validation; None without validation labels."""
        if self.kept.val_macro_f1 is None:
            return None
        return {"epoch": self.kept.epoch, "macro_f1": self.kept.val_macro_f1, "accuracy": self.kept.val_accuracy}


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """All frames of all videos one after the other, and the windows over them as row numbers.

    Features lie once in half precision; windows are gathered by index, batch by batch.
    """

    visual: Tensor  # [N, Dv] float16
    visual_valid: Tensor  # [N] bool
    audio: Tensor  # [N, Da] float16
    audio_valid: Tensor  # [N] bool
    labels: Tensor  # [N] int64, -1 where the frame teaches nothing
    rows: Tensor  # [W, window] int64
    exists: Tensor  # [W, window] bool, false for padding
    videos: int

    @property
    def windows(self) -> int:
        return len(self.rows)

    def class_counts(self) -> NDArray[np.int64]:
        """Labelled frames of each class."""
        return np.bincount(self.labels[self.labels >= 0].numpy(), minlength=len(CLASSES))

    def batch(self, windows: Tensor, device: torch.device) -> tuple[Tensor, ...]:
        """visual, its mask, audio, its mask, labels of some windows, on the device."""
        rows, exists = self.rows[windows], self.exists[windows]
        labels = torch.where(exists, self.labels[rows], NOT_ANNOTATED)
        batch = (
            self.visual[rows].float(),
            self.visual_valid[rows] & exists,
            self.audio[rows].float(),
            self.audio_valid[rows] & exists,
            labels,
        )
        return tuple(part.to(device, non_blocking=True) for part in batch)


def load_training_set(
    joined: JoinedFeatures, labels: Mapping[str, VideoLabels], *, window: int, stride: int
) -> TrainingSet:
    """Reads every video that has features and labels."""
    videos = [video for video in joined.videos if video in labels]
    if not videos:
        raise no_common_videos(joined, sorted(labels))
    frames = np.array([joined.frames(video) for video in videos])
    offsets = np.concatenate([[0], np.cumsum(frames)])
    parts = _read_frames(joined, labels, videos, offsets)
    rows, exists = _windows(offsets, window, stride)
    usable = (parts["labels"][rows] >= 0) & exists & _seen_or_heard(parts, rows, exists)
    kept = usable.any(dim=1)
    if not kept.any():
        raise AffcliError("no window holds a labelled frame with a face or sound: there is nothing to learn from.")
    return TrainingSet(**parts, rows=rows[kept], exists=exists[kept], videos=len(videos))


def _read_frames(
    joined: JoinedFeatures, labels: Mapping[str, VideoLabels], videos: list[str], offsets: NDArray[np.int64]
) -> dict[str, Tensor]:
    total = int(offsets[-1])
    visual_size, audio_size = joined.sizes
    parts = {
        "visual": torch.zeros(total, visual_size, dtype=torch.float16),
        "visual_valid": torch.zeros(total, dtype=torch.bool),
        "audio": torch.zeros(total, audio_size, dtype=torch.float16),
        "audio_valid": torch.zeros(total, dtype=torch.bool),
        "labels": torch.full((total,), NOT_ANNOTATED, dtype=torch.int64),
    }
    for video, start in zip(videos, offsets[:-1].tolist(), strict=True):
        found = joined.read(video)
        rows = slice(start, start + found.frames)
        for name, stream in (("visual", found.visual), ("audio", found.audio)):
            parts[name][rows] = torch.from_numpy(stream.features)
            parts[f"{name}_valid"][rows] = torch.from_numpy(stream.valid)
        # Label files may run a line or two past the last frame; those lines have no features to learn from.
        known = labels[video].labels[: found.frames]
        parts["labels"][start : start + len(known)] = torch.from_numpy(known.astype(np.int64))
    return parts


def _windows(offsets: NDArray[np.int64], window: int, stride: int) -> tuple[Tensor, Tensor]:
    """Rows of every window of every video; no window crosses from one video into the next."""
    rows, exists = [], []
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        at, there = window_rows(window_starts(stop - start, window, stride), window, stop - start)
        rows.append(at + start)
        exists.append(there)
    return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(exists))


def _seen_or_heard(parts: Mapping[str, Tensor], rows: Tensor, exists: Tensor) -> Tensor:
    """[W, 1]: the window has a valid frame in some stream. Without any, its logits are a constant."""
    valid = (parts["visual_valid"] | parts["audio_valid"])[rows] & exists
    return valid.any(dim=1, keepdim=True)


def balanced_weights(counts: NDArray[np.int64]) -> Tensor:
    """w_c = N / (K · n_c) over the K classes that occur; a class that never occurs weighs 0."""
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over the first tenth of the steps, then a half cosine down to 0."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


class Trainer:
    """Trains epoch by epoch. Every epoch is seeded by itself, so it depends on nothing but the weights before it."""

    def __init__(self, config: FusionConfig, options: TrainingOptions, data: TrainingSet, run: Runtime) -> None:
        self.options, self._data, self._run = options, data, run
        torch.manual_seed(options.seed)
        self.network = FusionNetwork(config).to(run.device)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
        self._batches = math.ceil(data.windows / options.batch_size)
        weights = balanced_weights(data.class_counts()).to(run.device) if options.class_weights == "balanced" else None
        self._class_weights = weights

    def epoch(self, number: int) -> EpochReport:
        """One pass over all windows in a new order; `number` counts from 1."""
        began = time.perf_counter()
        torch.manual_seed(self.options.seed * 1_000_003 + number)
        order = torch.randperm(self._data.windows)
        self.network.train()
        total, rate = 0.0, 0.0
        for index, windows in enumerate(torch.split(order, self.options.batch_size)):
            rate = self._set_rate((number - 1) * self._batches + index)
            total += self._step(windows) * len(windows)
        seconds = time.perf_counter() - began
        return EpochReport(number, total / self._data.windows, rate, self._data.windows, round(seconds, 3))

    def _set_rate(self, step: int) -> float:
        rate = learning_rate(step, self.options.epochs * self._batches, self.options.lr)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _step(self, windows: Tensor) -> float:
        visual, visual_valid, audio, audio_valid, labels = self._data.batch(windows, self._run.device)
        # A window with neither stream has constant logits whatever is learnt: its frames are left out of the loss.
        labels = labels.masked_fill(~(visual_valid | audio_valid).any(dim=1, keepdim=True), NOT_ANNOTATED)
        draw = torch.rand(len(windows)).to(self._run.device)
        rates = {"visual_rate": self.options.modality_dropout, "audio_rate": self.options.audio_dropout}
        visual_valid, audio_valid = hide_streams(visual_valid, audio_valid, draw, **rates)
        with self._run.autocast():
            logits = self.network(visual, visual_valid, audio, audio_valid)
        loss = focal_loss(logits, labels, gamma=self.options.gamma, class_weights=self._class_weights)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        return float(loss.detach())


@dataclass(frozen=True)
class Validation:
    """Scores a network the way it is used: windows, soft voting, F1 over the frames of all videos."""

    joined: JoinedFeatures
    labels: Mapping[str, VideoLabels]

    def figures(self, network: FusionNetwork, options: TrainingOptions, run: Runtime) -> tuple[float, float]:
        """Macro F1 over the eight classes, and accuracy."""
        network.eval()
        pooled = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
        window = network.config.window
        for video in filter(self.labels.__contains__, self.joined.videos):
            features = self.joined.read(video)
            logits = windowed_logits(
                network, features, run, window=window, stride=options.stride, batch_size=options.batch_size
            )
            predicted = logits.voted(features.frames).argmax(axis=1)
            truth = self.labels[video].labels[: features.frames]
            labelled = truth >= 0
            pooled += metrics.confusion(truth[labelled], predicted[: len(truth)][labelled])
        return float(metrics.macro_f1(pooled)), float(metrics.accuracy(pooled))


def train(
    trainer: Trainer, validation: Validation | None, *, run: Runtime, report: Callable[[EpochReport], None]
) -> Trained:
    """All epochs; keeps the one with the best validation macro F1 (the first of equals), else the last."""
    best: Trained | None = None
    for number in range(1, trainer.options.epochs + 1):
        epoch = trainer.epoch(number)
        if validation is not None:
            macro_f1, accuracy = validation.figures(trainer.network, trainer.options, run)
            epoch = EpochReport(**{**asdict(epoch), "val_macro_f1": macro_f1, "val_accuracy": accuracy})
        report(epoch)
        if best is None or validation is None or (epoch.val_macro_f1 or 0.0) > (best.kept.val_macro_f1 or 0.0):
            best = Trained(copy.deepcopy(trainer.network), epoch)
    assert best is not None
    return Trained(best.network.eval(), best.kept)
