"""One training of an encoder as a whole: what it begins with, how it is trained, and what its folder says of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from affcli.facesets.pictures import FaceData
from affcli.facesets.preparing import Preparation
from affcli.models.encoders.classifier import Classifier
from affcli.models.face_training.trainer import PictureOptions, PictureTrainer
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.training import loop
from affcli.models.training.classifier_trainer import Tell
from affcli.models.training.loop import Outcome
from affcli.models.training.saved_state import EpochReport, Progress, fingerprint


@dataclass(frozen=True, eq=False)
class PictureTask:
    """A classifier to begin with, options, and where its pictures are from: `stage` and the names of face sets."""

    classifier: Classifier
    options: PictureOptions
    run: Runtime
    stage: str
    sources: tuple[str, ...]
    align: bool

    @property
    def how(self) -> Preparation:
        """How pictures are made for this encoder."""
        preprocessing = self.classifier.preprocessing
        return Preparation(preprocessing.input_size, self.align, preprocessing.resample)

    def made_from(self, *pictures: object) -> str:
        """Fingerprint of everything that the encoder's bytes depend on, its card's included, but for the machine.

        `pictures` are facts that JSON holds, such as `FaceData.fingerprint`.
        """
        return fingerprint(self._begun_with, self.run.precision, self._facts, self._training, pictures)

    @cached_property
    def _begun_with(self) -> str:
        """Taken before training, which changes the weights."""
        return self.classifier.fingerprint()

    @property
    def _facts(self) -> dict[str, Any]:
        template = "arcface-112" if self.align else "pictures as they are"
        alignment = {"template": template, "size": self.how.size}
        return {"model": self.classifier.checkpoint.name, "sources": self.sources, "alignment": alignment}

    @property
    def _training(self) -> dict[str, Any]:
        return {"stage": self.stage, **asdict(self.options)}

    def train(
        self, data: FaceData, progress: Progress, ranks: Ranks, *, tell: Tell, report: Callable[[EpochReport], None]
    ) -> Outcome:
        """All epochs; goes on where an interrupted run has ended."""
        trainer = PictureTrainer(self.classifier, self.options, data, self.run, ranks, tell=tell)
        limits = {"epochs": self.options.epochs, "patience": self.options.patience}
        return loop.run(trainer, progress, **limits, report=report, ranks=ranks)

    def save(self, folder: Path, trained: Outcome, prints: Mapping[str, str]) -> None:
        """Writes the encoder and its card, with these fingerprints, into a folder that exists."""
        training = {**self._training, **prints}
        card = {**self._facts, "training": training, "validation": trained.validation}
        self.classifier.save(folder, trained.weights, card)
