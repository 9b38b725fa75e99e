"""What trainers of encoders with a head of classes have in common, whatever the encoder is shown."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from affcli.errors import AffcliError
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.training.loop import LARGEST_GRADIENT, learning_rate
from affcli.models.training.optimizers import OPTIMIZERS, Average, parameter_groups, set_rate
from affcli.models.training.saved_state import EpochReport, State, Tensors

Tell = Callable[[float, int], None]  # epochs done, fractions included; examples since it was last told


@dataclass(frozen=True)
class EncoderOptions:
    """What the training of any encoder can be told; it stands in the encoder's card."""

    epochs: int
    patience: int  # epochs without a better validation score after which training ends; 0: never
    optimizer: str  # adamw or muon
    lr: float
    warmup: float  # share of the steps in which the rate rises
    weight_decay: float
    layer_decay: float
    gamma: float
    label_smoothing: float
    augment: float
    ema: float  # 0: no average, the weights themselves
    batch_size: int
    seed: int


class Sized(Protocol):
    """A batch."""

    @property
    def count(self) -> int:
        """The examples in the whole of it, of all processes."""
        ...


B = TypeVar("B", bound=Sized)
B_co = TypeVar("B_co", bound=Sized, covariant=True)


class Batches(Protocol[B_co]):
    """The batches of every epoch."""

    def __len__(self) -> int: ...

    @property
    def examples(self) -> int:
        """In an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[B_co]:
        """All batches of one epoch; they depend on the seed, the epoch and their place in it, and on nothing else."""
        ...


class ClassifierTrainer(ABC, Generic[B]):
    """A network, its optimiser and the average of its weights. Every epoch is seeded by itself.

    Of several processes each takes its share of every batch, so the steps are those of one process, to rounding
    (drop path and the encoder's own dropout are drawn by each for itself).
    """

    unit: str  # what is learnt from: pictures, utterances

    def __init__(
        self, network: Any, options: EncoderOptions, batches: Batches[B], run: Runtime, ranks: Ranks, tell: Tell
    ) -> None:
        self.options, self._batches, self._run, self._ranks, self._tell = options, batches, run, ranks, tell
        self.network = network.to(run.device)
        self._average = Average(self.network, options.ema) if options.ema else None
        decays = {"weight_decay": options.weight_decay, "layer_decay": options.layer_decay}
        groups = parameter_groups(self.network.named_parameters(), **decays)
        fused = run.device.type in ("cpu", "cuda")
        self._optimizer = OPTIMIZERS[options.optimizer](groups, lr=options.lr, fused=fused)

    @abstractmethod
    def _loss(self, batch: B) -> Tensor:
        """This process's share of a batch's loss; 0 where it has none of the examples."""

    @abstractmethod
    def judged(self, report: EpochReport) -> EpochReport:
        """The report with figures of the held-out examples; as it is where there are none."""

    def epoch(self, number: int) -> EpochReport:
        """As many examples as there are, drawn by their weights; `number` counts from 1."""
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
        loss = float(self._ranks.total(torch.stack(losses).sum())) / self._batches.examples
        if not math.isfinite(loss):
            raise AffcliError(f"the loss is not finite in epoch {number}: lower --lr (now {self.options.lr:g}).")
        seconds = round(time.perf_counter() - began, 3)
        return EpochReport(number, loss, rate, self._batches.examples, seconds, self.unit)

    @property
    def _steps(self) -> int:
        return self.options.epochs * len(self._batches)

    def _step(self, batch: B) -> Tensor:
        """One step with this process's share of a batch; its share of the batch's loss comes back."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        self._ranks.total_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        return loss.detach()

    def _share_statistics(self) -> None:
        """Running statistics (of batch norms), which each process takes from its own share, become their mean."""
        self._ranks.average(self.network.buffers())
        if self._average is not None:
            self._ranks.average(self._average.buffers())

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
