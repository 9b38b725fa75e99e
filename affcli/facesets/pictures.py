"""Face pictures as a network is trained on them: pixels, soft labels, and how often each is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pictures:
    """N face pictures of one size, S × S.

    `pixels`   uint8 [N, S, S, 3] RGB; a read-only memory map, so that it may be larger than the memory
    `targets`  float32 [N, 8], the probability of each class; each row sums to 1
    `weights`  float64 [N], the probability that a draw takes this picture; they sum to 1
    `sources`  the names of the face sets
    `source`   int16 [N], which of them a picture is from
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.float32]
    weights: NDArray[np.float64]
    sources: tuple[str, ...]
    source: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """[N]: the most probable class of each picture, the first of `CLASSES` on a tie."""
        return np.asarray(self.targets.argmax(axis=1))


@dataclass(frozen=True, eq=False)
class FaceData:
    """What an encoder is trained on and judged by.

    `held_out` is seen as it is in use: aligned, where alignment was asked for. `held_out_raw` holds the same faces, in
    the same order, as the sets have them, without alignment; None where `held_out` is that already. `fingerprint` tells
    the content (pixels, targets, weights) and nothing else: no path, no date.
    """

    train: Pictures
    held_out: Pictures | None
    held_out_raw: Pictures | None
    fingerprint: str
