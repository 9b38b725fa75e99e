"""Batches of utterances for training: cut to one length, changed, prepared; and in what order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli.models.encoders.front_ends import FrontEnd
from affcli.models.speech_training.augmentation import changed
from affcli.models.training.draws import drawn
from affcli.models.training.losses import smoothed
from affcli.speechsets.sounds import Sounds

LONGEST_S: Final = 10.0  # of an utterance in a batch
PART_S: Final = (1.0, 2.5)  # of those batches that hold parts of utterances
PARTS: Final = 0.4  # share of the batches
_TOGETHER: Final = 16  # batches that are drawn together and sorted by length
_JITTER_S: Final = 0.15  # by which the order of lengths is disturbed


@dataclass(frozen=True, eq=False)
class Utterances:
    """n utterances: `sounds`, `targets` float32 [n, 8], `weights` float64 [n], how often each is drawn."""

    sounds: Sounds
    targets: NDArray[np.float32]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> NDArray[np.int64]:
        """[n]: the most probable class, the first on a tie."""
        return np.asarray(self.targets.argmax(axis=1))


@dataclass(frozen=True)
class Batch:
    """Prepared sounds [n, …] of one length, and targets [n, 8], on the device."""

    values: Tensor
    targets: Tensor
    count: int


class TrainingBatches:
    """The batches of every epoch: they depend on the seed, the epoch and their place in it, and on nothing else.

    Those of one batch are cut to the shortest of them, at random, so that nothing is padded; utterances of much the
    same length come together.
    """

    def __init__(
        self,
        data: Utterances,
        front: FrontEnd,
        *,
        batch_size: int,
        augment: float,
        smoothing: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self._data, self._front, self._device = data, front, device
        self._batch_size, self._augment, self._smoothing = batch_size, augment, smoothing
        self._seed = seed % (1 << 63)  # numpy takes no negative ones
        self._rate = front.steps.sample_rate_hz

    def __len__(self) -> int:
        return -(-len(self._data) // self._batch_size)

    @property
    def examples(self) -> int:
        """In an epoch."""
        return len(self._data)

    def epoch(self, number: int) -> Iterator[Batch]:
        """All batches of one epoch."""
        order = drawn(self._data.weights, np.random.default_rng([self._seed, number]))
        for index, chosen in enumerate(self._sorted(order, np.random.default_rng([self._seed, number, 1 << 40]))):
            yield self._batch(chosen, np.random.default_rng([self._seed, number, index]))

    def _sorted(self, order: NDArray[np.int64], random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        lengths, together = self._data.sounds.lengths, _TOGETHER * self._batch_size
        for start in range(0, len(order), together):
            some = order[start : start + together]
            some = some[np.argsort(lengths[some] + random.uniform(0, _JITTER_S * self._rate, len(some)), kind="stable")]
            batches = [some[first : first + self._batch_size] for first in range(0, len(some), self._batch_size)]
            for place in random.permutation(len(batches)):
                yield batches[place]

    @torch.no_grad()
    def _batch(self, chosen: NDArray[np.int64], random: np.random.Generator) -> Batch:
        most_s = random.uniform(*PART_S) if random.random() < PARTS else LONGEST_S
        lengths = self._data.sounds.lengths[chosen]
        longest = self._front.longest or int(lengths.min())
        length = int(min(lengths.min(), longest, most_s * self._rate))
        values = []
        for row, own in zip(chosen.tolist(), lengths.tolist(), strict=True):
            part = self._data.sounds.read(row, int(random.integers(own - length + 1)), length)
            values.append(self._front.prepared(changed(part, self._rate, self._augment, random)))
        targets = smoothed(torch.from_numpy(self._data.targets[chosen]), self._smoothing)
        stacked = torch.from_numpy(np.stack(values))
        return Batch(stacked.to(self._device), targets.to(self._device), len(chosen))
