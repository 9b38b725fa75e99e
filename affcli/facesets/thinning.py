"""Leaves out frames that show nothing new: at 30 frames a second a face hardly moves from one to the next."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GLANCE: Final = 16  # pixels


class Thinner:
    """Goes through the pictures of each group (a video) in their order and says which to keep.

    A picture is kept if it is the first of its group, if its label is another than that of the last one kept, or if
    the two differ by more than `threshold`: the mean absolute difference of grey values (0 to 255) of both pictures
    reduced to 16 × 16 pixels. Compared is with the last picture *kept*, so slow movements add up and are not lost.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._last: tuple[int, int] | None = None
        self._glance = np.empty(0, np.float32)

    def begin_after(self, pixels: NDArray[np.uint8], group: int, label: int) -> None:
        """As if this picture was the last one kept."""
        self._last, self._glance = (group, label), _glance(pixels)

    def keeps(self, pixels: NDArray[np.uint8], group: int, label: int) -> bool:
        """Whether to keep this picture, uint8 [S, S, 3]; if so, later ones are compared with it."""
        glance = _glance(pixels)
        if self._last == (group, label) and np.abs(glance - self._glance).mean() <= self._threshold:
            return False
        self._last, self._glance = (group, label), glance
        return True


def _glance(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    reduced = Image.fromarray(pixels).convert("L").resize((_GLANCE, _GLANCE), Image.Resampling.BOX)
    return np.asarray(reduced, np.float32)
