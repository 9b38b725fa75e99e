"""How often each picture is drawn."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.schema import CLASSES

GROUP_POWER: Final = 0.5
CLASS_POWER: Final = 0.5  # the rarest of FERPlus, 0.6 % of its pictures, is then 3 % of those drawn


def drawing_weights(
    group: NDArray[np.integer], labels: NDArray[np.integer], *, class_power: float
) -> NDArray[np.float64]:
    """The probability [n] that a draw takes each picture; they sum to 1.

    A group (a face set, or one video among many) with n pictures is drawn in proportion to √n: of two sets of 300,000
    and 3,000 pictures the small one is drawn 10 times as often as its size says, yet less often than the large one.
    Then classes are brought to shares in proportion to (share so far) ^ `class_power`: 1 leaves them as they are, 0
    draws all classes that occur alike; in between rare ones are drawn more often, without a few pictures being drawn
    for ever. Within a group and a class all pictures are alike.
    """
    sizes = np.bincount(group)
    weights = sizes[group].astype(np.float64) ** (GROUP_POWER - 1)
    weights /= weights.sum()
    shares = np.bincount(labels, weights, minlength=len(CLASSES))
    weights *= shares[labels] ** (class_power - 1)
    return np.asarray(weights / weights.sum())
