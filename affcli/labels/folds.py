"""Labelled videos in parts, one of which is held out of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.labels.reader import VideoLabels
from affcli.schema import CLASSES, recording_of


@dataclass(frozen=True)
class Fold:
    """Part `number` (from 1) of `parts` that the labelled videos are split into; it is held out of training."""

    number: int
    parts: int

    def held_out(self, labels: Mapping[str, VideoLabels], *, seed: int) -> list[str]:
        """The videos of this part. The parts get equal shares of each class's frames, as far as whole videos can.

        Recordings go, the largest first, each to the part in which its classes are scarcest so far; `seed` orders
        equals. People of one recording (`X_left`, `X_right`) go together: they share its sound.
        """
        counts: dict[str, NDArray[np.int64]] = {}
        for video in sorted(labels):
            numbers = labels[video].labels
            own = np.bincount(numbers[numbers >= 0], minlength=len(CLASSES))
            counts[recording_of(video)] = counts.get(recording_of(video), 0) + own
        if len(counts) < self.parts:
            raise AffcliError(f"--fold: {len(counts)} labelled recordings cannot be split into {self.parts} parts.")
        part_of = _dealt(np.stack(list(counts.values())), self.parts, seed=seed)
        mine = {recording for recording, part in zip(counts, part_of, strict=True) if part == self.number - 1}
        return [video for video in sorted(labels) if recording_of(video) in mine]


def _dealt(counts: NDArray[np.int64], parts: int, *, seed: int) -> list[int]:
    """The part of each item, by its frames of each class [items, classes]."""
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    order = np.random.default_rng(seed).permutation(len(shares))
    filled, sizes, part_of = np.zeros((parts, counts.shape[1])), np.zeros(parts), [0] * len(shares)
    for index in order[np.argsort(-shares[order].sum(axis=1), kind="stable")]:
        # How much fuller than even this item makes each part, over all classes; equals go to the smaller part.
        cost = ((filled + shares[index]) ** 2 - filled**2).sum(axis=1)
        part = int(np.lexsort((sizes, cost))[0])
        filled[part] += shares[index]
        sizes[part] += 1
        part_of[index] = part
    return part_of
