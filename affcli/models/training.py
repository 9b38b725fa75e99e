"""Trains the fusion network: epochs over windows, the best one kept, every one resumable."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli import metrics
from affcli.errors import AffcliError
from affcli.models.dataset import TrainingSet, ValidationSet
from affcli.models.fusion import FusionConfig, FusionNetwork, focal_loss, hide_streams
from affcli.models.progress import EpochReport, Progress, State, fingerprint
from affcli.models.ranks import Ranks
from affcli.models.runtime import Runtime

log = logging.getLogger(__name__)

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
    patience: int  # epochs without a better validation score after which training ends; 0: never
    lr: float
    weight_decay: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """The network with the weights of the epoch that is kept, and all epochs' reports."""

    network: FusionNetwork
    reports: tuple[EpochReport, ...]
    kept: EpochReport

    @property
    def validation(self) -> dict[str, object] | None:
        """What the card says of the kept epoch's validation; None without validation labels."""
        if self.kept.val_macro_f1 is None:
            return None
        return {"epoch": self.kept.epoch, "macro_f1": self.kept.val_macro_f1, "accuracy": self.kept.val_accuracy}


def made_from(
    config: FusionConfig, options: TrainingOptions, data: TrainingSet, validation: ValidationSet | None, run: Runtime
) -> str:
    """Fingerprint of everything a model's bytes depend on, but for the machine."""
    judged = validation.labelled.digest() if validation else None
    return fingerprint(asdict(config), asdict(options), data.labelled.digest(), judged, run.precision)


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
    """One network and its optimiser. Every epoch is seeded by itself: it depends on nothing but the weights before it.

    Of several processes each takes its share of every batch, so the steps are those of one process, to rounding.
    """

    def __init__(
        self,
        config: FusionConfig,
        options: TrainingOptions,
        data: TrainingSet,
        run: Runtime,
        ranks: Ranks | None = None,
    ) -> None:
        self.options, self._data, self._run, self._ranks = options, data, run, ranks or Ranks()
        torch.manual_seed(options.seed)
        self.network = FusionNetwork(config).to(run.device)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
        self._batches = math.ceil(len(data.windows) / options.batch_size)
        weights = balanced_weights(data.class_counts()).to(run.device) if options.class_weights == "balanced" else None
        self._class_weights = weights

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
            rate = self._set_rate((number - 1) * self._batches + index)
            draw = torch.rand(len(windows), generator=drawing)
            losses.append(self._step(self._ranks.share(windows), self._ranks.share(draw)) * len(windows))
        # Read once an epoch: to read a loss after each step would make a GPU wait for it.
        loss = float(self._ranks.total(torch.stack(losses).sum())) / len(order)
        if not math.isfinite(loss):
            raise AffcliError(f"the loss is not finite in epoch {number}: lower --lr (now {self.options.lr:g}).")
        return EpochReport(number, loss, rate, len(order), round(time.perf_counter() - began, 3))

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
        count = self._ranks.total((labels >= 0).sum())
        with self._run.autocast():
            logits = self.network(visual, visual_valid, audio, audio_valid)
        loss = focal_loss(logits, labels, gamma=self.options.gamma, class_weights=self._class_weights, count=count)
        loss.backward()  # type: ignore[no-untyped-call]
        self._ranks.total_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        return loss.detach()

    def _on_device(self, windows: Tensor) -> list[Tensor]:
        return [part.to(self._run.device, non_blocking=True) for part in self._data.batch(windows)]

    def state(self, reports: tuple[EpochReport, ...], kept: int, best: dict[str, Tensor]) -> State:
        moments = self._optimizer.state_dict()["state"]
        return State(reports, kept, self.network.state_dict(), best, moments)

    def restore(self, state: State) -> None:
        """Continues where `state` was taken."""
        self.network.load_state_dict(state.network)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})


def train(
    trainer: Trainer,
    validation: ValidationSet | None,
    progress: Progress,
    *,
    run: Runtime,
    report: Callable[[EpochReport], None],
    ranks: Ranks | None = None,
) -> Trained:
    """All epochs that are not done yet; keeps the one with the best validation macro F1 (the first of equals), else
    the last. After every epoch the state is saved; `report` gets every epoch, those of an interrupted run first.
    """
    ranks = ranks or Ranks()
    state = progress.load()
    reports, kept, best = (state.reports, state.kept, state.best) if state else ((), 0, {})
    if state is not None:
        trainer.restore(state)
        log.warning("going on after epoch %d of an interrupted run.", len(reports))
    ranks.wait()
    for done in reports:
        report(done)
    for number in range(len(reports) + 1, trainer.options.epochs + 1):
        if _out_of_patience(trainer.options.patience, len(reports), kept, validation):
            break
        epoch = trainer.epoch(number)
        if validation is not None:
            epoch = _judged(epoch, trainer, validation, run)
        if validation is None or not kept or _figure(epoch) > _figure(reports[kept - 1]):
            kept, best = (
                number,
                {name: tensor.detach().clone() for name, tensor in trainer.network.state_dict().items()},
            )
        reports = (*reports, epoch)
        if ranks.first:
            progress.save(trainer.state(reports, kept, best))
        report(epoch)
    trainer.network.load_state_dict(best)
    return Trained(trainer.network.eval(), reports, reports[kept - 1])


def _judged(epoch: EpochReport, trainer: Trainer, validation: ValidationSet, run: Runtime) -> EpochReport:
    options = trainer.options
    pooled = validation.confusion(trainer.network, run, stride=options.stride, batch_size=options.batch_size)
    macro_f1, accuracy = float(metrics.macro_f1(pooled)), float(metrics.accuracy(pooled))
    return replace(epoch, val_macro_f1=macro_f1, val_accuracy=accuracy)


def _figure(epoch: EpochReport) -> float:
    return epoch.val_macro_f1 or 0.0


def _out_of_patience(patience: int, done: int, kept: int, validation: ValidationSet | None) -> bool:
    return bool(patience and validation is not None and done - kept >= patience)
