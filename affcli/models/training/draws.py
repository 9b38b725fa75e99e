"""Which examples an epoch shows, and in what order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def drawn(weights: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """As many numbers of examples as there are, in random order: number i about N · weights[i] times.

    Systematic resampling: an example that is due 2.3 times comes 2 or 3 times, and with equal weights each comes once.
    """
    shuffled = random.permutation(len(weights))
    due = np.cumsum(weights[shuffled]) / weights.sum() * len(weights)
    due[-1] = len(weights)
    counts = np.diff(np.floor(due + random.random()), prepend=0.0)
    return random.permutation(np.repeat(shuffled, counts.astype(np.int64)))
