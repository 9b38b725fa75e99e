"""Trains an image encoder and its head on labelled face pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from affcli.facesets.pictures import FaceData, Pictures
from affcli.models.encoders.classifier import Classifier
from affcli.models.face_training.augmentation import Augmenter
from affcli.models.face_training.batches import Batch, Mixing, TrainingBatches
from affcli.models.runtime.devices import Runtime
from affcli.models.runtime.ranks import Ranks
from affcli.models.training.classifier_trainer import ClassifierTrainer, EncoderOptions, Tell
from affcli.models.training.losses import focal_loss
from affcli.models.training.saved_state import EpochReport
from affcli.scoring import metrics


@dataclass(frozen=True)
class PictureOptions(EncoderOptions):
    """What `affcli train-visual` can be told about training; it stands in the encoder's card."""

    drop_path: float
    mixup: float


class PictureTrainer(ClassifierTrainer[Batch]):
    """Shows face pictures to a classifier."""

    unit = "pictures"
    options: PictureOptions

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
        ranks = ranks or Ranks()
        self._data, self._preprocessing = data, classifier.preprocessing
        batches = TrainingBatches(
            data.train,
            Augmenter(**self._preprocessing.input_facts),
            Mixing(options.augment, options.mixup, options.label_smoothing),
            batch_size=options.batch_size,
            seed=options.seed,
            device=run.device,
            ranks=ranks,
        )
        super().__init__(classifier.network, options, batches, run, ranks, tell)

    def _loss(self, batch: Batch) -> Tensor:
        if not len(batch.pictures):  # the last batch may be smaller than there are processes
            return torch.zeros((), device=self._run.device)
        with self._run.autocast():
            logits = self.network(pixel_values=batch.pictures).logits
        return focal_loss(logits, batch.targets, gamma=self.options.gamma, count=batch.count)

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
