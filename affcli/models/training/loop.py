"""What every training has in common: the course of the rate, epochs that are judged, kept and resumable."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from affcli.models.runtime.ranks import Ranks
from affcli.models.training.saved_state import EpochReport, Progress, State, Tensors

log = logging.getLogger(__name__)

LARGEST_GRADIENT = 1.0  # norm to which gradients are clipped


def learning_rate(step: int, steps: int, peak: float, *, warm_up: float = 0.1) -> float:
    """Linear warm-up over a share of the steps (at least one step), then a half cosine down to 0."""
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


class Learner(Protocol):
    """What `run` drives: a network, its optimiser and its data. An epoch depends on the state before it only."""

    def epoch(self, number: int) -> EpochReport:
        """One pass over the training data; `number` counts from 1."""

    def judged(self, report: EpochReport) -> EpochReport:
        """The report with the figures of the validation data; as it is where there are none."""

    def weights(self) -> Tensors:
        """The weights that are judged, and written where this epoch is the one that is kept; copies."""

    def state(self, reports: tuple[EpochReport, ...], kept: int, best: Tensors) -> State:
        """All that the epochs to come depend on."""
        ...

    def restore(self, state: State) -> None:
        """Continues where `state` was taken."""


@dataclass(frozen=True)
class Outcome:
    """All epochs' reports, and the weights of the epoch that is kept."""

    reports: tuple[EpochReport, ...]
    kept: EpochReport
    weights: Tensors

    @property
    def validation(self) -> dict[str, object] | None:
        """What a card says of the kept epoch's validation; None without validation data."""
        if self.kept.val_macro_f1 is None:
            return None
        figures = {"macro_f1": self.kept.val_macro_f1, "accuracy": self.kept.val_accuracy}
        return {"epoch": self.kept.epoch, **figures, **self.kept.more}


def run(
    learner: Learner,
    progress: Progress,
    *,
    epochs: int,
    patience: int,
    report: Callable[[EpochReport], None],
    ranks: Ranks,
) -> Outcome:
    """All epochs that are not done yet; keeps the one with the best validation macro F1 (the first of equals), else
    the last. After every epoch the state is saved; `report` gets every epoch, those of an interrupted run first.

    `patience` epochs without a better validation score end the training; 0: never.
    """
    state = progress.load()
    reports, kept, best = (state.reports, state.kept, state.best) if state else ((), 0, {})
    if state is not None:
        learner.restore(state)
        log.warning("going on after epoch %d of an interrupted run.", len(reports))
    ranks.wait()
    for done in reports:
        report(done)
    for number in range(len(reports) + 1, epochs + 1):
        if patience and kept and reports[kept - 1].val_macro_f1 is not None and len(reports) - kept >= patience:
            break
        epoch = learner.judged(learner.epoch(number))
        if not kept or epoch.val_macro_f1 is None or epoch.val_macro_f1 > (reports[kept - 1].val_macro_f1 or 0.0):
            kept, best = number, learner.weights()
        reports = (*reports, epoch)
        if ranks.first:
            progress.save(learner.state(reports, kept, best))
        report(epoch)
    return Outcome(reports, reports[kept - 1], best)
