"""One training of a speech encoder as a whole: what it begins with, how it is trained, what its folder says of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from affcli.models.encoders.audio_classifier import SpeechClassifier
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.speech_training.trainer import SpeechData, SpeechTrainer
from affcli.models.training import loop
from affcli.models.training.classifier_trainer import EncoderOptions, Tell
from affcli.models.training.loop import Outcome
from affcli.models.training.saved_state import EpochReport, Progress, fingerprint


@dataclass(frozen=True, eq=False)
class SpeechTask:
    """A classifier to begin with, options, and the corpora that it hears and does not hear."""

    classifier: SpeechClassifier
    options: EncoderOptions
    run: Runtime
    sources: tuple[str, ...]
    left_out: str | None

    def made_from(self, *speech: object) -> str:
        """Fingerprint of everything that the encoder's bytes depend on, its card's included, but for the machine.

        `speech` are facts that JSON holds, such as `SpeechData.fingerprint`.
        """
        return fingerprint(self._begun_with, self.run.precision, self._facts, asdict(self.options), speech)

    @cached_property
    def _begun_with(self) -> str:
        """Taken before training, which changes the weights."""
        return self.classifier.fingerprint()

    @property
    def _facts(self) -> dict[str, Any]:
        # The head reads the last hidden layer, so that one is the feature.
        return {
            "model": self.classifier.checkpoint.name,
            "layers": 1,
            "sources": [name for name in self.sources if name != self.left_out],
            "left_out": self.left_out,
        }

    def train(
        self, data: SpeechData, progress: Progress, *, tell: Tell, report: Callable[[EpochReport], None]
    ) -> Outcome:
        """All epochs; goes on where an interrupted run has ended."""
        trainer = SpeechTrainer(self.classifier, self.options, data, self.run, tell=tell)
        limits = {"epochs": self.options.epochs, "patience": self.options.patience}
        return loop.run(trainer, progress, **limits, report=report, ranks=Ranks())

    def save(self, folder: Path, trained: Outcome, prints: Mapping[str, str]) -> None:
        """Writes the encoder and its card, with these fingerprints, into a folder that exists."""
        training = {**asdict(self.options), **prints}
        card = {**self._facts, "training": training, "validation": trained.validation or trained.kept.more or None}
        self.classifier.save(folder, trained.weights, card)
