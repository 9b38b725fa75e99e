"""Where an encoder of speech takes its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StepGrid:
    """Step j sees samples [start + j·hop, start + j·hop + field); those outside the sound are padding."""

    hop: int  # samples between steps: the product of the strides (WavLM: 320)
    field: int  # samples one step sees (WavLM: 400)
    sample_rate_hz: int
    start: int = 0  # of the first step's field; negative where the front end pads (Whisper: −520)
    least: int = 0  # samples that the first step needs of the sound; 0: its whole field

    @classmethod
    def of(cls, kernels: Sequence[int], strides: Sequence[int], sample_rate_hz: int) -> StepGrid:
        """The grid of a stack of convolutions without padding."""
        hop, field = 1, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        return cls(hop, field, sample_rate_hz)

    def count(self, samples: int) -> int:
        """⌊(n − least) / hop⌋ + 1 steps for n samples, none for n < least."""
        return max(0, (samples - (self.least or self.field)) // self.hop + 1)

    def centres_s(self, steps: int) -> NDArray[np.float64]:
        """Seconds from the first sample to the middle of what each step sees: (start + field/2 + hop·j) / rate."""
        return (self.start + self.field / 2 + self.hop * np.arange(steps)) / self.sample_rate_hz
