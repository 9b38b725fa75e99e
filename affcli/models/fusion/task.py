"""One training as a whole: what is trained on what, and what becomes of it. `affcli train` without its command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from affcli.errors import AffcliError
from affcli.features.joined import JoinedFeatures
from affcli.files.outputs import refuse_existing
from affcli.labels.folds import Fold
from affcli.labels.reader import VideoLabels
from affcli.models.fusion.dataset import TrainingSet, ValidationSet
from affcli.models.fusion.feature_storage import Storage
from affcli.models.fusion.model_file import ModelCard, load_model, save_model
from affcli.models.fusion.network import FusionConfig
from affcli.models.fusion.trainer import Tell, Trainer, TrainingOptions, made_from
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.training import loop
from affcli.models.training.loop import Outcome
from affcli.models.training.saved_state import EpochReport, Progress, fingerprint
from affcli.models.training.stated import stated

Labels = Mapping[str, VideoLabels]


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """Network, options and data of one training, and the model file that it makes."""

    output: str
    config: FusionConfig
    options: TrainingOptions
    run: Runtime
    joined: JoinedFeatures
    data: TrainingSet
    validation: ValidationSet | None
    fold: Fold | None
    held_out: list[str]

    @classmethod
    def load(
        cls,
        output: str,
        joined: JoinedFeatures,
        labels: tuple[Labels, Labels],
        config: FusionConfig,
        options: TrainingOptions,
        run: Runtime,
        *,
        fold: Fold | None,
        storage: str,
    ) -> TrainingTask:
        """Reads the features of all labelled videos; `labels` are those to train on and those to validate on."""
        own, other = labels
        held_out = fold.held_out(own, seed=options.seed) if fold else []
        store = Storage(storage, Path(output).parent)
        sizes = {"window": config.window, "stride": options.stride}
        data = TrainingSet.load(joined, own, **sizes, without=held_out, storage=store)
        validation = ValidationSet.load(joined, other, store) if other else None
        return cls(output, config, options, run, joined, data, validation, fold, held_out)

    @cached_property
    def made_from(self) -> str:
        """Fingerprint of everything that the model's bytes depend on, its card's included, but for the machine."""
        learnt = made_from(self.config, self.options, self.data, self.validation, self.run)
        return fingerprint(learnt, self.joined.encoders, self.joined.alignment, self._parts, self.held_out)

    def train(self, report: Callable[[EpochReport], None], ranks: Ranks, *, tell: Tell) -> Outcome:
        """Goes on where an interrupted run has ended; the first of several processes writes the model.

        `report` gets every epoch, `tell` every step.
        """
        progress = Progress(self.output, self.made_from)
        data = self.data, self.validation
        trainer = Trainer(self.config, self.options, *data, self.run, ranks, tell=tell)
        limits = {"epochs": self.options.epochs, "patience": self.options.patience}
        trained = loop.run(trainer, progress, **limits, report=report, ranks=ranks)
        if ranks.first:
            save_model(self.output, trained.weights, self._card(trained))
            progress.remove()
        return trained

    @property
    def _parts(self) -> tuple[int, int] | None:
        return (self.fold.number, self.fold.parts) if self.fold else None

    def _card(self, trained: Outcome) -> ModelCard:
        facts = {**stated(self.options), "fold": self._parts, "held_out": self.held_out, "made_from": self.made_from}
        known = self.joined.encoders, self.joined.alignment
        return ModelCard(self.config, self.options.stride, *known, facts, trained.validation)


def made_before(output: str, *, force: bool) -> str | None:
    """What a model that is there already was made from, None where there is none; raises for any other file."""
    if force or not Path(output).is_file():
        return None
    try:
        _, card = load_model(output)
    except AffcliError:
        refuse_existing(output, force=False)
        raise
    return str(card.training.get("made_from"))
