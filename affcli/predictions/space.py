"""The space of a table's numbers: logits, probabilities, shares of votes, or labels only.

Tables of ours name it in their metadata. In tables made elsewhere it is recognised: rows of numbers of at least 0 that
sum to 1 are probabilities, rows that sum to 100 are probabilities in per cent, everything else is logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LOGITS: Final = "logits"
PROBABILITIES: Final = "probabilities"
SHARES: Final = "shares"  # of votes, or of labels in a window
LABELS: Final = "labels"  # no numbers at all
PERCENT: Final = "percent"  # probabilities times 100; never written, only read
INPUT_SPACES: Final = (LOGITS, PROBABILITIES, PERCENT, SHARES)

# How far from 1 (of 1) the sum of a row of probabilities may be: numbers rounded to two decimals add up to .98.
TOLERANCE: Final = 0.02
# Where more than this part of the rows sums to 1, the others contradict it; where less does, it is chance.
_MOSTLY: Final = 0.5
# Probabilities below are raised to this before their logarithm is taken: about the rounding of float32.
SMALLEST: Final = 1e-7

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Recognised:
    """What the numbers of a table look like.

    `space` is LOGITS, PROBABILITIES or PERCENT. `odd_row` is the first row that does not sum to 1 (or 100) although
    most do, and None where all agree. `bounded` says that all numbers lie between 0 and 1.
    """

    space: str
    odd_row: int | None = None
    bounded: bool = False


def recognise(values: Numbers) -> Recognised | None:
    """The space that numbers [n, C] are in; None where no row tells.

    Rows with a missing number (NaN), and rows that are 0 throughout, are set aside; a class that is missing in all rows
    does not count.
    """
    lowest = values.T.min(axis=0, initial=np.inf)  # NaN where a number is missing
    if len(lowest) and (lowest < 0).mean() > _MOSTLY:
        return Recognised(LOGITS)  # nearly all tables of logits: no sum needed
    row = _telling_rows(values)
    if not row.size:
        return None
    rows = np.asarray(values[row], np.float64)
    rows = rows[:, ~np.isnan(rows).all(axis=0)]
    for space, whole in ((PROBABILITIES, 1.0), (PERCENT, 100.0)):
        sums = _sum_to(rows, whole)
        if sums.mean() > _MOSTLY:
            return Recognised(space, None if sums.all() else int(row[np.argmin(sums)]))
    return Recognised(LOGITS, bounded=bool(rows.min() >= 0 and rows.max() <= 1))


def contradiction(values: Numbers, space: str) -> int | None:
    """The first row of numbers [n, C] that cannot be in `space` (PROBABILITIES or PERCENT), or None.

    Rows without any number and rows that are 0 throughout are set aside; a row in which only some are missing must not
    exceed the sum.
    """
    whole = 100.0 if space == PERCENT else 1.0
    known = np.nan_to_num(np.asarray(values.T, np.float64), nan=0.0)
    with np.errstate(invalid="ignore"):  # inf - inf
        sums = known.sum(axis=0)
    slack = TOLERANCE * whole + 1e-9
    partial = np.isnan(values.T).any(axis=0)
    good = (known.min(axis=0) >= 0) & (sums <= whole + slack) & (partial | (sums >= whole - slack))
    bad = ~good & (known != 0).any(axis=0)
    return int(np.argmax(bad)) if bad.any() else None


def as_read(values: Numbers, space: str) -> Numbers:
    """Numbers [n, C] of a table made elsewhere as they go on: per cent divided by 100, and rows of probabilities that
    are 0 throughout as missing (NaN), since some tools write such rows for frames without a face.
    """
    if space == LOGITS:
        return values
    columns = values.T / 100 if space == PERCENT else values.T
    empty = ~(columns != 0).any(axis=0)
    return np.transpose(np.where(empty, np.asarray(np.nan, columns.dtype), columns) if empty.any() else columns)


def whole(values: Numbers) -> Numbers:
    """Numbers [n, C] of at least 0, each row divided by its sum; NaN stays NaN, and negative numbers count as 0.

    A row that has no positive number gets 1 for its largest.
    """
    columns = np.clip(values.T, 0, None)
    sums = np.nansum(columns, axis=0)
    none = (sums <= 0) & ~np.isnan(columns).all(axis=0)
    if none.any():
        best = np.fmax.reduce(values.T[:, none], axis=0)
        columns[:, none] = np.where(np.isnan(columns[:, none]), np.nan, values.T[:, none] == best)
        sums = np.nansum(columns, axis=0)
    return np.transpose(columns / np.where(sums > 0, sums, 1))


def softmax(logits: Numbers) -> NDArray[np.float64]:
    """Probabilities float64 [n, C] of logits; a missing logit (NaN) takes no part and stays NaN."""
    values = logits.astype(np.float64)
    best = np.fmax.reduce(values, axis=1)[:, None]
    with np.errstate(invalid="ignore"):
        powers = np.exp(np.where(values == best, 0.0, values - best))  # inf - inf would be NaN
    found: NDArray[np.float64] = powers / np.nansum(powers, axis=1, keepdims=True)
    return found


def as_probabilities(values: Numbers, space: str) -> NDArray[np.float64]:
    """Probabilities float64 [n, C] of numbers in `space`: softmaxes of logits, else the numbers, limited to 0 to 1."""
    return softmax(values) if space == LOGITS else np.clip(values.astype(np.float64), 0, 1)


def converted(values: Numbers, space: str, target: str) -> Numbers:
    """Numbers [n, C] of one space in another: what a vote averages.

    Logits become their softmaxes, probabilities their logarithms (of at least 1e-7), which are logits too. Shares stand
    for probabilities as they are.
    """
    if target == LOGITS and space != LOGITS:
        return np.log(np.clip(values.astype(np.float64), SMALLEST, None))
    return softmax(values) if target == PROBABILITIES and space == LOGITS else values


def ballots(values: Numbers) -> NDArray[np.float64]:
    """One vote for each row's largest number, the first of equals: 1 for it, 0 for the others; NaN where none is."""
    best = np.fmax.reduce(values, axis=1)
    winners = np.argmax(values == best[:, None], axis=1)
    votes = (winners[:, None] == np.arange(values.shape[1])).astype(np.float64)
    votes[np.isnan(best)] = np.nan
    return np.asarray(votes)


def _telling_rows(values: Numbers) -> NDArray[np.intp]:
    known = ~np.isnan(values)
    used = known.any(axis=0)
    complete = (known | ~used).all(axis=1) & used.any()
    return np.flatnonzero(complete & (np.nan_to_num(values, nan=0.0) != 0).any(axis=1))


def _sum_to(rows: NDArray[np.float64], total: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):  # inf - inf
        sums = rows.sum(axis=1)
    near = np.abs(sums - total) <= TOLERANCE * total + 1e-9
    return np.asarray((rows.min(axis=1) >= 0) & near)
