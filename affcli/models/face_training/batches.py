"""Batches of face pictures for training, augmented and mixed, and in what order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affcli.facesets.pictures import Pictures
from affcli.models.face_training.augmentation import Augmenter, Changes, mix
from affcli.models.runtime.ranks import Ranks
from affcli.models.training.draws import drawn
from affcli.models.training.losses import smoothed


@dataclass(frozen=True)
class Batch:
    """This process's share of one batch: pictures [n, 3, S, S] float32, targets [n, 8], on the device."""

    pictures: Tensor
    targets: Tensor
    count: int  # pictures in the whole batch, of all processes


@dataclass(frozen=True)
class Mixing:
    """How pictures and labels are changed: the augmentation's strength, mixup's α (0: none), label smoothing's ε."""

    augment: float
    mixup: float
    smoothing: float


class TrainingBatches:
    """The batches of every epoch: they depend on the seed, the epoch and their place in it, and on nothing else."""

    def __init__(
        self,
        data: Pictures,
        augmenter: Augmenter,
        mixing: Mixing,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        self._data, self._augmenter, self._mixing = data, augmenter, mixing
        self._batch_size, self._device, self._ranks = batch_size, device, ranks
        self._seed = seed % (1 << 63)  # numpy takes no negative ones
        self._targets = torch.from_numpy(np.asarray(data.targets)).to(device)
        self._pixels = _fitted(data.pixels, device)

    def __len__(self) -> int:
        return -(-len(self._data) // self._batch_size)

    @property
    def examples(self) -> int:
        """In an epoch."""
        return len(self._data)

    def epoch(self, number: int) -> Iterator[Batch]:
        """All batches of one epoch. Each is made when it is wanted, by all threads: beside the training, in a thread of
        its own, it would take as much of the processor and keep the training's threads waiting for one another.
        """
        order = drawn(self._data.weights, np.random.default_rng([self._seed, number]))
        for index, start in enumerate(range(0, len(order), self._batch_size)):
            yield self._batch(
                order[start : start + self._batch_size], np.random.default_rng([self._seed, number, index])
            )

    @torch.no_grad()
    def _batch(self, chosen: NDArray[np.int64], random: np.random.Generator) -> Batch:
        alpha, pairs = self._mixing.mixup, len(chosen) // 2
        share = random.beta(alpha, alpha, pairs) if alpha else np.ones(pairs)
        changes = Changes.draw(len(chosen), self._mixing.augment, random)
        # Pairs of neighbours stay together, since they are mixed.
        mine = torch.split(torch.arange(len(chosen)), 2)[self._ranks.rank :: self._ranks.size]
        rows = torch.cat([*mine, torch.empty(0, dtype=torch.int64)])
        own = chosen[rows.numpy()]
        pictures = self._augmenter(self._take(own), changes.of(rows, torch.device("cpu")))
        targets = smoothed(self._targets[torch.from_numpy(own).to(self._device)], self._mixing.smoothing)
        if alpha:
            shares = torch.from_numpy(share[self._ranks.rank :: self._ranks.size]).float().to(self._device)
            mix(pictures, shares)
            mix(targets, shares)
        return Batch(pictures, targets, len(chosen))

    def _take(self, chosen: NDArray[np.int64]) -> Tensor:
        if isinstance(self._pixels, Tensor):
            return self._pixels[torch.from_numpy(chosen).to(self._device)]
        return torch.from_numpy(self._pixels[chosen]).to(self._device)


def _fitted(pixels: NDArray[np.uint8], device: torch.device) -> Tensor | NDArray[np.uint8]:
    """The pictures in a GPU's memory, where they fit into half of what is free there; else where they are."""
    if device.type != "cuda" or pixels.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return pixels
    held = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), 4096):
        held[start : start + 4096] = torch.from_numpy(pixels[start : start + 4096].copy())
    return held
