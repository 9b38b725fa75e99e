"""Which frames get a label: those with a face or speech in them, and with a probability that is high enough.

The others are *unsure*: their label is null, their logits stay. The rule stands in a table's metadata under
`min_confidence` and `min_speech`; `vote` and `smooth` apply it again to what they make of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.predictions.video_rows import VideoRows

MIN_SPEECH: Final = 0.5  # mean probability of speech around a frame from which its sound counts as speech

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Naming:
    """The rule of one table.

    `min_confidence`: the least probability, 0 to 1, that the likeliest class of a named frame has.
    `min_speech`: from which `speech` a frame counts as one with speech; at 0 any sound does.
    """

    min_confidence: float = 0.0
    min_speech: float = MIN_SPEECH

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Naming | None:
        """The rule that a table's metadata states, or None for a table in which every frame is named."""
        found = metadata.get("min_confidence")
        return None if found is None else cls(float(found), float(metadata.get("min_speech", MIN_SPEECH)))

    @property
    def facts(self) -> dict[str, float]:
        """What a table's metadata says of the rule."""
        return {"min_confidence": self.min_confidence, "min_speech": self.min_speech}

    def unsure(self, rows: VideoRows, space: object) -> Flags:
        """Which rows are not named, bool [n].

        `space` says what the numbers of the rows are: logits, probabilities or shares. A table that lacks one of the
        columns `face` and `speech` cannot tell where there is neither.
        """
        unsure = ~(confidences(rows.logits, space) >= self.min_confidence - _ROUNDING)
        if {"face", "speech"} <= set(rows.carried.column_names):
            unsure |= ~(_known(rows, "face", 0.0) > 0) & ~(_known(rows, "speech", -1.0) >= self.min_speech)
        return unsure


_ROUNDING: Final = 1e-6  # logits are stored as float32


def confidences(logits: NDArray[np.floating[Any]], space: object) -> NDArray[np.float64]:
    """The largest probability of each row of [n, C]; NaN where all numbers are missing.

    Of logits it is that of their softmax over the classes that are there; probabilities and shares are scaled to a sum
    of 1.
    """
    values = logits.astype(np.float64)
    best = np.fmax.reduce(values, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if space in ("probabilities", "shares"):
            return np.asarray(best / np.nansum(values, axis=1))
        relative = np.where(values == best[:, None], 0.0, values - best[:, None])  # inf - inf would be NaN
        return np.asarray(np.where(np.isnan(best), np.nan, 1 / np.nansum(np.exp(relative), axis=1)))


def _known(rows: VideoRows, name: str, null: float) -> NDArray[np.float64]:
    """A carried column as numbers, with `null` where there is none."""
    numbers = pc.fill_null(rows.carried[name].cast(pa.float32()), null)
    return np.asarray(numbers.to_numpy(), np.float64)
