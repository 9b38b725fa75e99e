"""Trains an image encoder and its head on labelled face pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from affcli.errors import AffcliError
from affcli.facesets.pictures import FaceData, Pictures
from affcli.models.encoders.classifier import Classifier
from affcli.models.face_training.augmentation import Augmenter
from affcli.models.face_training.batches import Batch, Mixing, TrainingBatches
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.training.loop import LARGEST_GRADIENT, learning_rate
from affcli.models.training.losses import focal_loss
from affcli.models.training.optimizers import OPTIMIZERS, Average, parameter_groups, set_rate
from affcli.models.training.saved_state import EpochReport, State, Tensors
from affcli.scoring import metrics

Tell = Callable[[float, int], None]  # epochs done, fractions included; pictures since it was last told


@dataclass(frozen=True)
class PictureOptions:
    """What `affcli train-visual` can be told about training; it stands in the encoder's card."""

    epochs: int
    patience: int  # epochs without a better validation score after which training ends; 0: never
    optimizer: str  # adamw or muon
    lr: float
    warmup: float  # share of the steps in which the rate rises
    weight_decay: float
    layer_decay: float
    drop_path: float
    gamma: float
    label_smoothing: float
    mixup: float
    augment: float
    ema: float  # 0: no average, the weights themselves
    batch_size: int
    seed: int


class PictureTrainer:
    """A classifier, its optimiser and the average of its weights. Every epoch is seeded by itself.

    Of several processes each takes its share of every batch, so the steps are those of one process, to rounding
    (drop path and the encoder's own dropout are drawn by each for itself).
    """

    def __init__(
        self,
        classifier: Classifier,
        options: PictureOptions,
        data: FaceData,
        run: Runtime,
        ranks: Ranks | None = None,
        *,
        tell: Tell = lambda epochs, pictures: None,
    ) -> None:
        self.options, self._data, self._run, self._tell = options, data, run, tell
        self._ranks = ranks or Ranks()
        self._preprocessing = classifier.preprocessing
        self.network = classifier.network.to(run.device)
        self._average = Average(self.network, options.ema) if options.ema else None
        decays = {"weight_decay": options.weight_decay, "layer_decay": options.layer_decay}
        groups = parameter_groups(self.network.named_parameters(), **decays)
        fused = run.device.type in ("cpu", "cuda")
        self._optimizer = OPTIMIZERS[options.optimizer](groups, lr=options.lr, fused=fused)
        self._batches = TrainingBatches(
            data.train,
            Augmenter(**self._preprocessing.input_facts),
            Mixing(options.augment, options.mixup, options.label_smoothing),
            batch_size=options.batch_size,
            seed=options.seed,
            device=run.device,
            ranks=self._ranks,
        )

    def epoch(self, number: int) -> EpochReport:
        """As many pictures as there are, drawn by their weights; `number` counts from 1."""
        began = time.perf_counter()
        torch.manual_seed((self.options.seed * 1_000_003 + number) * 1_009 + self._ranks.rank)  # drop path, dropout
        self.network.train()
        losses, rate = [], 0.0
        for index, batch in enumerate(self._batches.epoch(number), start=1):
            step = (number - 1) * len(self._batches) + index - 1
            rate = learning_rate(step, self._steps, self.options.lr, warm_up=self.options.warmup)
            set_rate(self._optimizer, rate)
            losses.append(self._step(batch) * batch.count)
            if self._average is not None:
                self._average.update(step)
            self._tell(number - 1 + index / len(self._batches), batch.count)
        self._share_statistics()
        # Read once an epoch: to read a loss after each step would make a GPU wait for it.
        loss = float(self._ranks.total(torch.stack(losses).sum())) / self._batches.pictures
        if not math.isfinite(loss):
            raise AffcliError(f"the loss is not finite in epoch {number}: lower --lr (now {self.options.lr:g}).")
        seconds = round(time.perf_counter() - began, 3)
        return EpochReport(number, loss, rate, self._batches.pictures, seconds, "pictures")

    def _share_statistics(self) -> None:
        """Running statistics (of batch norms), which each process takes from its own share, become their mean."""
        self._ranks.average(self.network.buffers())
        if self._average is not None:
            self._ranks.average(self._average.buffers())

    @property
    def _steps(self) -> int:
        return self.options.epochs * len(self._batches)

    def _step(self, batch: Batch) -> Tensor:
        """One step with this process's share of a batch; its share of the batch's loss comes back."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self._run.device)
        if len(batch.pictures):  # the last batch may be smaller than there are processes
            with self._run.autocast():
                logits = self.network(pixel_values=batch.pictures).logits
            loss = focal_loss(logits, batch.targets, gamma=self.options.gamma, count=batch.count)
            loss.backward()  # type: ignore[no-untyped-call]
        self._ranks.total_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        return loss.detach()

    def judged(self, report: EpochReport) -> EpochReport:
        """With macro F1 and accuracy of the held-out pictures, most probable label against most probable class."""
        if self._data.held_out is None:
            return report
        macro_f1, accuracy = self._judge(self._data.held_out)
        report = replace(report, val_macro_f1=macro_f1, val_accuracy=accuracy)
        if self._data.held_out_raw is None:
            return report
        macro_f1, accuracy = self._judge(self._data.held_out_raw)
        return replace(report, more={"val_raw_macro_f1": macro_f1, "val_raw_accuracy": accuracy})

    def _judge(self, pictures: Pictures) -> tuple[float, float]:
        counted = self.confusion(pictures)
        return float(metrics.macro_f1(counted)), float(metrics.accuracy(counted))

    def confusion(self, pictures: Pictures) -> NDArray[np.int64]:
        """Pictures by true and predicted class, [8, 8], with the weights that would be kept now."""
        self.network.eval()
        weights, predicted = self._judged_weights(), []
        mine = np.arange(len(pictures))[self._ranks.rank :: self._ranks.size]
        for start in range(0, len(mine), self.options.batch_size):
            pixels = torch.from_numpy(pictures.pixels[mine[start : start + self.options.batch_size]])
            values = self._preprocessing.normalised(pixels.to(self._run.device))
            with self._run.inference():
                logits = functional_call(self.network, weights, (), {"pixel_values": values}).logits
            predicted.append(logits.argmax(1).cpu().numpy())
        counted = metrics.confusion(pictures.labels[mine], np.concatenate([*predicted, np.empty(0, np.int64)]))
        return self._ranks.total(torch.from_numpy(counted).to(self._run.device)).cpu().numpy()

    def _judged_weights(self) -> Tensors:
        return self._average.weights if self._average else self.network.state_dict()

    def weights(self) -> Tensors:
        """Copies of the weights that would be kept now."""
        return {name: tensor.detach().clone() for name, tensor in self._judged_weights().items()}

    def state(self, reports: tuple[EpochReport, ...], kept: int, best: Tensors) -> State:
        """All that the epochs to come depend on."""
        moments = self._optimizer.state_dict()["state"]
        average = self._average.weights if self._average else {}
        return State(reports, kept, self.network.state_dict(), best, moments, average)

    def restore(self, state: State) -> None:
        """Continues where `state` was taken."""
        self.network.load_state_dict(state.network)
        groups: Any = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        if self._average is not None:
            self._average.restore(state.average)
