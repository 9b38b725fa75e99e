"""Trains a speech encoder and its head on labelled utterances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from affcli.models.encoders.audio_classifier import SpeechClassifier
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.speech_training.batches import LONGEST_S, Batch, TrainingBatches, Utterances
from affcli.models.training.classifier_trainer import ClassifierTrainer, EncoderOptions, Tell
from affcli.models.training.losses import focal_loss
from affcli.models.training.saved_state import EpochReport
from affcli.scoring import metrics

MOMENT_S: Final = 1.0  # what affcli takes the mean over for a frame
MOMENT_SHARE: Final = 0.3  # of the loss: that of a moment somewhere in each utterance


@dataclass(frozen=True)
class SpeechData:
    """What an encoder is trained on and judged by; `left_out` is a corpus that it never hears."""

    train: Utterances
    held_out: Utterances | None
    left_out: Utterances | None
    fingerprint: str


class SpeechTrainer(ClassifierTrainer[Batch]):
    """Lets a classifier hear utterances."""

    unit = "utterances"

    def __init__(
        self,
        classifier: SpeechClassifier,
        options: EncoderOptions,
        data: SpeechData,
        run: Runtime,
        *,
        tell: Tell = lambda epochs, utterances: None,
    ) -> None:
        self._data, self._front = data, classifier.front
        batches = TrainingBatches(
            data.train,
            self._front,
            batch_size=options.batch_size,
            augment=options.augment,
            smoothing=options.label_smoothing,
            seed=options.seed,
            device=run.device,
        )
        super().__init__(classifier.network, options, batches, run, Ranks(), tell)

    def _loss(self, batch: Batch) -> Tensor:
        """Of each utterance's mean over its steps, and with less weight of a second of it."""
        with self._run.autocast():
            logits = self.network(batch.values)
        logits = logits.float()
        steps = self._front.steps
        moment = min(logits.shape[1], round(MOMENT_S * steps.sample_rate_hz / steps.hop))
        begin = int(torch.randint(logits.shape[1] - moment + 1, ()))
        whole, part = (
            focal_loss(some.mean(1), batch.targets, gamma=self.options.gamma, count=batch.count)
            for some in (logits, logits[:, begin : begin + moment])
        )
        return (1 - MOMENT_SHARE) * whole + MOMENT_SHARE * part

    def judged(self, report: EpochReport) -> EpochReport:
        """With macro F1 and accuracy of the held-out utterances, and of the corpus left out by names of its own."""
        if self._data.held_out is not None:
            macro_f1, accuracy = self._judge(self._data.held_out)
            report = replace(report, val_macro_f1=macro_f1, val_accuracy=accuracy)
        if self._data.left_out is not None:
            macro_f1, accuracy = self._judge(self._data.left_out)
            report = replace(report, more={"left_out_macro_f1": macro_f1, "left_out_accuracy": accuracy})
        return report

    def _judge(self, data: Utterances) -> tuple[float, float]:
        counted = self.confusion(data)
        return float(metrics.macro_f1(counted)), float(metrics.accuracy(counted))

    def confusion(self, data: Utterances) -> NDArray[np.int64]:
        """Utterances by true and predicted class, [8, 8], with the weights that would be kept now.

        The answer for an utterance is the class of the mean of its logits.
        """
        self.network.eval()
        weights = self._judged_weights()
        predicted = np.empty(len(data), np.int64)
        for number in range(len(data)):
            total = torch.zeros(8)
            for values in self._pieces(data, number):
                with self._run.inference():
                    total += functional_call(self.network, weights, (values,))[0].float().sum(0).cpu()
            predicted[number] = int(total.argmax())
        return metrics.confusion(data.labels, predicted)

    def _pieces(self, data: Utterances, number: int) -> Iterator[Tensor]:
        """An utterance, prepared; longer ones in pieces."""
        rate, length = self._front.steps.sample_rate_hz, int(data.sounds.lengths[number])
        most = min(self._front.longest or length, int(LONGEST_S * rate))
        least = self._front.steps.least or self._front.steps.field
        for start in range(0, length, most):
            samples = data.sounds.read(number, start, min(most, length - start))
            if len(samples) >= least or start == 0:
                yield torch.from_numpy(self._front.prepared(samples))[None].to(self._run.device)
