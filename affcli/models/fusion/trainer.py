"""Trains the fusion network: epochs over windows of feature tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli.errors import AffcliError
from affcli.models.fusion.dataset import TrainingSet, ValidationSet
from affcli.models.fusion.network import FusionConfig, FusionNetwork, hide_streams
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.training.loop import LARGEST_GRADIENT, learning_rate
from affcli.models.training.losses import focal_loss, labelled, log_priors, soft_labels
from affcli.models.training.optimizers import Average
from affcli.models.training.saved_state import EpochReport, State, Tensors, fingerprint
from affcli.models.training.stated import LATER, stated
from affcli.scoring import metrics

Tell = Callable[[float, int], None]  # epochs done, fractions included; windows since it was last told


@dataclass(frozen=True)
class TrainingOptions:
    """What `affcli train` can be told about training; it stands in the model's card."""

    modality_dropout: float
    audio_dropout: float
    gamma: float
    class_weights: str  # none, balanced
    stride: int
    epochs: int
    patience: int  # epochs without a better validation score after which training ends; 0: never
    lr: float
    weight_decay: float
    batch_size: int
    seed: int
    loss: str = field(default="focal", metadata=LATER)  # focal, cross-entropy, logit-adjusted
    label_smoothing: float = field(default=0.0, metadata=LATER)
    ema: float = field(default=0.0, metadata=LATER)  # decay of the average of the weights; 0: the weights themselves
    frame_weights: str | None = field(default=None, metadata=LATER)  # column of the labels


def made_from(
    config: FusionConfig, options: TrainingOptions, data: TrainingSet, validation: ValidationSet | None, run: Runtime
) -> str:
    """Fingerprint of everything a network's weights depend on, but for the machine."""
    judged = validation.digest() if validation else None
    return fingerprint(stated(config), stated(options), data.labelled.digest(), judged, run.precision)


def balanced_weights(counts: NDArray[np.int64]) -> Tensor:
    """w_c = N / (K · n_c) over the K classes that occur; a class that never occurs weighs 0."""
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


class Loss:
    """What `--loss` and the options beside it ask for: class numbers, or smoothed labels, against logits."""

    def __init__(self, options: TrainingOptions, counts: NDArray[np.int64], device: torch.device) -> None:
        self._gamma = options.gamma if options.loss == "focal" else 0.0
        self._smoothing = options.label_smoothing
        self._class_weights = balanced_weights(counts).to(device) if options.class_weights == "balanced" else None
        adjusted = options.loss == "logit-adjusted"
        self._priors = log_priors(torch.from_numpy(counts)).to(device) if adjusted else None

    def __call__(self, logits: Tensor, labels: Tensor, frame_weights: Tensor | None, count: Tensor) -> Tensor:
        """logits [B, T, C], labels [B, T], -1 for none, weights [B, T] → the sum of losses divided by `count`."""
        if self._priors is not None:
            logits = logits + self._priors
        targets = soft_labels(labels, logits.shape[-1], self._smoothing) if self._smoothing else labels
        weights = {"class_weights": self._class_weights, "frame_weights": frame_weights}
        return focal_loss(logits, targets, gamma=self._gamma, **weights, count=count)


class Trainer:
    """One network and its optimiser. Every epoch is seeded by itself: it depends on nothing but the weights before it.

    Of several processes each takes its share of every batch, so the steps are those of one process, to rounding.
    """

    def __init__(
        self,
        config: FusionConfig,
        options: TrainingOptions,
        data: TrainingSet,
        validation: ValidationSet | None,
        run: Runtime,
        ranks: Ranks | None = None,
        *,
        tell: Tell = lambda epochs, windows: None,
    ) -> None:
        self.options, self._data, self._validation = options, data.fitted(run.device), validation
        self._run, self._ranks, self._tell = run, ranks or Ranks(), tell
        torch.manual_seed(options.seed)
        self.network = FusionNetwork(config).to(run.device)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
        self._batches = math.ceil(len(data.windows) / options.batch_size)
        self._loss = Loss(options, data.class_counts(), run.device)
        self._average = Average(self.network, options.ema) if options.ema else None

    def epoch(self, number: int) -> EpochReport:
        """One pass over all windows in a new order; `number` counts from 1."""
        began = time.perf_counter()
        seed = self.options.seed * 1_000_003 + number
        torch.manual_seed(seed * 1_009 + self._ranks.rank)  # dropout inside the network
        drawing = torch.Generator().manual_seed(seed)  # order and modality dropout, the same in every process
        order = torch.randperm(len(self._data.windows), generator=drawing)
        self.network.train()
        losses, rate = [], 0.0
        for index, windows in enumerate(torch.split(order, self.options.batch_size)):
            step = (number - 1) * self._batches + index
            rate = self._set_rate(step)
            draw = torch.rand(len(windows), generator=drawing)
            losses.append(self._step(self._ranks.share(windows), self._ranks.share(draw)) * len(windows))
            if self._average is not None:
                self._average.update(step)
            self._tell(number - 1 + (index + 1) / self._batches, len(windows))
        # Read once an epoch: to read a loss after each step would make a GPU wait for it.
        loss = float(self._ranks.total(torch.stack(losses).sum())) / len(order)
        if not math.isfinite(loss):
            raise AffcliError(f"the loss is not finite in epoch {number}: lower --lr (now {self.options.lr:g}).")
        return EpochReport(number, loss, rate, len(order), round(time.perf_counter() - began, 3), "windows")

    def _set_rate(self, step: int) -> float:
        rate = learning_rate(step, self.options.epochs * self._batches, self.options.lr)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _step(self, windows: Tensor, draw: Tensor) -> Tensor:
        """One step with this process's share of a batch; its share of the batch's loss comes back."""
        self._optimizer.zero_grad(set_to_none=True)
        visual, visual_valid, audio, audio_valid, labels = self._on_device(windows)
        rates = {"visual_rate": self.options.modality_dropout, "audio_rate": self.options.audio_dropout}
        visual_valid, audio_valid = hide_streams(visual_valid, audio_valid, draw.to(self._run.device), **rates)
        weights = self._data.frame_weights(windows, self._run.device)
        count = self._ranks.total(labelled(labels >= 0, weights))
        with self._run.autocast():
            logits = self.network(visual, visual_valid, audio, audio_valid)
        loss = self._loss(logits, labels, weights, count)
        loss.backward()  # type: ignore[no-untyped-call]
        self._ranks.total_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        return loss.detach()

    def _on_device(self, windows: Tensor) -> list[Tensor]:
        return [part.to(self._run.device, non_blocking=True) for part in self._data.batch(windows)]

    def judged(self, report: EpochReport) -> EpochReport:
        """With macro F1 and accuracy over the frames of the validation videos, voted as in use."""
        if self._validation is None:
            return report
        options = self.options
        pooled = self._validation.confusion(
            self._judged_network, self._run, stride=options.stride, batch_size=options.batch_size
        )
        macro_f1, accuracy = float(metrics.macro_f1(pooled)), float(metrics.accuracy(pooled))
        return replace(report, val_macro_f1=macro_f1, val_accuracy=accuracy)

    @property
    def _judged_network(self) -> FusionNetwork:
        """The network with the average of its weights, where one is kept."""
        return self.network if self._average is None else self._average.network

    def weights(self) -> Tensors:
        """Copies of the weights that are judged, as they are now."""
        return {name: tensor.detach().clone() for name, tensor in self._judged_network.state_dict().items()}

    def state(self, reports: tuple[EpochReport, ...], kept: int, best: Tensors) -> State:
        """All that the epochs to come depend on."""
        moments = self._optimizer.state_dict()["state"]
        average = self._average.weights if self._average else {}
        return State(reports, kept, self.network.state_dict(), best, moments, average)

    def restore(self, state: State) -> None:
        """Continues where `state` was taken."""
        self.network.load_state_dict(state.network)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        if self._average is not None:
            self._average.restore(state.average)
