"""Per-class offsets that are added to the logits, fitted for macro F1 and judged by cross-validation over videos; and
a temperature that logits are divided by before, so that probabilities mean what they say.

A network trained on unbalanced classes gives rare ones too small logits for macro F1, in which all classes count the
same. (The 10th ABAW's second place gained 2.7 points of validation F1 by such offsets.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, ClassMismatchError, SpaceError, listed
from affcli.files.json_objects import read_json_object
from affcli.predictions.space import LOGITS, PROBABILITIES, SHARES, converted, softmax

KIND: Final = "calibration"
FILE_VERSION: Final = 1
_WITH_TEMPERATURE: Final = 2
LARGEST_TEMPERATURE: Final = 100.0  # and 1/100 the smallest
LARGEST_OFFSET: Final = 1e6  # beyond it a logit could not count any more
SPACES: Final = (LOGITS, PROBABILITIES, SHARES)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A temperature, and an offset a class that is added after it.

    `space` is what the numbers are that both apply to: logits, probabilities or shares; `name` what errors call it.
    """

    classes: tuple[str, ...]
    offsets: tuple[float, ...]
    space: str = "logits"
    temperature: float = 1.0
    name: str = field(default="the calibration", compare=False)

    def apply(self, logits: NDArray[np.floating[Any]], classes: Sequence[str]) -> Floats:
        """The numbers [n, C], in order of `classes`, at the temperature and with the offsets added; NaN stays NaN."""
        return np.asarray(
            scaled(logits, self.space, self.temperature) + np.array([self.by_class[name] for name in classes])
        )

    def check(self, classes: Sequence[str], space: str) -> None:
        """Raises ClassMismatchError for offsets of other classes, SpaceError where they are for another space."""
        if set(classes) != set(self.classes):
            raise ClassMismatchError(f"{self.name} is for the classes {listed(self.classes)}, not {listed(classes)}.")
        if space != self.space:
            raise SpaceError(
                f"{self.name} was fitted to {self.space}, but these numbers are {space}. "
                f"Fit one to {space} with affcli calibrate."
            )

    @property
    def file_version(self) -> int:
        """Of its file: an affcli that knows no temperature must not read one that has it."""
        return FILE_VERSION if self.temperature == 1 else _WITH_TEMPERATURE

    @property
    def by_class(self) -> dict[str, float]:
        """Class → offset."""
        return dict(zip(self.classes, self.offsets, strict=True))


def scaled(numbers: NDArray[np.floating[Any]], space: str, temperature: float) -> NDArray[np.floating[Any]]:
    """Numbers [n, C] at a temperature: logits divided by it, probabilities the softmax of their logarithms so divided.

    NaN stays NaN.
    """
    if temperature == 1:
        return numbers
    logits = converted(numbers, space, LOGITS) / temperature
    return logits if space == LOGITS else softmax(logits)


def read_calibration(source: str) -> Calibration:
    """Reads what `affcli calibrate` wrote."""
    found = read_json_object(Path(source))
    if found.get("kind") != KIND or found.get("version") not in (FILE_VERSION, _WITH_TEMPERATURE):
        raise AffcliError(f"{source}: not a calibration; affcli calibrate writes one.")
    offsets, space = found.get("offsets"), found.get("space")
    if not isinstance(offsets, dict) or not offsets or not all(map(_is_offset, offsets.values())):
        raise AffcliError(f"{source}: a calibration whose offsets are not one number a class.")
    if space not in SPACES:
        raise AffcliError(f"{source}: a calibration for {space!r}, none of {listed(SPACES)}.")
    temperature = found.get("temperature", 1.0)
    if not _is_offset(temperature) or not 1 / LARGEST_TEMPERATURE <= temperature <= LARGEST_TEMPERATURE:
        raise AffcliError(f"{source}: a calibration whose temperature is {temperature!r}, not a number above 0.")
    return Calibration(tuple(offsets), tuple(map(float, offsets.values())), space, float(temperature), source)


def _is_offset(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and abs(found) <= LARGEST_OFFSET
