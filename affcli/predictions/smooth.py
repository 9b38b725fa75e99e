"""Filters over time: median, mean, Gaussian or most frequent label, for each video and class by itself.

At the edges the end value is repeated (scipy's `mode="nearest"`). What is missing is left out of every window, with
its repeats: then a window's median, mean or shares are those of what is left, and the Gaussian's weights are scaled
to sum to 1 again. Probabilities stay probabilities: medians of each class do not sum to 1, so they are divided by
their sum.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affcli.class_words import class_of, counted_as_other, number_of
from affcli.errors import UsageError, counted, listed
from affcli.labels.reader import says_none
from affcli.predictions.frame_table import faces, frame_rows, frame_schema, largest
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.medians import window_medians
from affcli.predictions.space import LOGITS, SHARES
from affcli.predictions.video_rows import VideoRows
from affcli.schema import CLASSES
from affcli.tables.reader import plain_type

log = logging.getLogger(__name__)

METHODS = ("median", "mean", "gaussian", "mode")
LONGEST_KERNEL = 1001


@dataclass(frozen=True)
class Filter:
    """A filter over `kernel` rows, an odd number from 1 to 1001.

    `method` is one of METHODS, or None for the default: `median`, and `mode` where there are only labels.
    `exclude_faceless` leaves the frames without a face out of every window, and fills missing logits.
    """

    kernel: int = 11
    method: str | None = None
    exclude_faceless: bool = False

    def __post_init__(self) -> None:
        odd = isinstance(self.kernel, int | np.integer) and self.kernel % 2 == 1
        if not odd or not 1 <= self.kernel <= LONGEST_KERNEL:
            wanted = f"an odd number from 1 to {LONGEST_KERNEL}, so that a window has a middle"
            raise UsageError(f"--kernel {self.kernel}: must be {wanted}.")
        if self.method not in (None, *METHODS):
            raise UsageError(f"--method {self.method}: is none of {listed(METHODS)}.")

    @property
    def facts(self) -> dict[str, Any]:
        """What a table's metadata says of it."""
        return {"method": self.method, "kernel": int(self.kernel), "exclude_faceless": self.exclude_faceless}


class Smooth:
    """One table, filtered: `schema` is that of the result, `frames()` its rows video by video."""

    def __init__(self, table: LogitTable, chosen: Filter) -> None:
        table.refuse_spans()
        self._table = table
        self._filter = _for_table(table, chosen)
        self._gaps = self._gap_videos = 0
        facts = {**table.metadata, **table.starts}
        facts["smoothed"] = [*facts.get("smoothed", []), self._filter.facts]
        facts["space"] = SHARES if self._filter.method == "mode" and table.has_logits else table.space
        self.schema = frame_schema(list(table.carried_schema), table.classes, facts)
        if not table.has_logits:
            kind = plain_type(table.carried_schema.field("label").type)
            self.schema = self.schema.set(len(self.schema) - 1, pa.field("label", kind))
        self._check_columns()

    def _check_columns(self) -> None:
        names = self._table.carried_schema.names
        if self._filter.exclude_faceless and "face" not in names:
            log.warning("%s has no column 'face': only missing logits are left out", self._table.name)
        if not self._table.ours and self._table.has_logits and "label" in names:
            log.warning("%s: column 'label' is replaced by the class with the largest logit", self._table.name)

    def frames(self) -> Iterator[pa.Table]:
        """Each video's rows under `schema`, in codepoint order of the videos."""
        for rows in self._table.videos():
            self._check_frames(rows)
            if self._table.has_logits:
                yield smooth_logits(rows, self._filter, self.schema, self._table.name, space=self._table.space)
            else:
                yield self._smooth_labels(rows)
        if self._gaps:
            where = f"{counted(self._gaps, 'gap')} in {counted(self._gap_videos, 'video')}"
            log.warning("%s: frame numbers have %s; the kernel counts rows, not frames", self._table.name, where)

    def _check_frames(self, rows: VideoRows) -> None:
        self._table.refuse_repeats(rows)
        steps = np.diff(rows.frame)
        self._gaps += int((steps > 1).sum())
        self._gap_videos += bool((steps > 1).any())

    def _smooth_labels(self, rows: VideoRows) -> pa.Table:
        column = rows.carried["label"].combine_chunks()
        labels = [label for label in pc.unique(column.drop_null()).to_pylist() if not says_none(label)]
        names = sorted(labels, key=_class_order)
        spelt = pc.fill_null(pc.index_in(column, pa.array(names, column.type)), -1).to_numpy()
        own = np.array([*_first_of_each_meaning(names), -1])[spelt]
        present = own >= 0
        _, winner = mode(
            own, self._filter.kernel, present & _seen(rows, self._filter, self._table.name), len(names), known=present
        )
        keep = present | self._filter.exclude_faceless
        winner = np.where(winner == own, spelt, winner)  # a label that stays is spelt as it was
        filtered = pc.take(pa.array(names, column.type), pa.array(winner, mask=~keep | (winner < 0)))
        return frame_rows(self.schema, rows, filtered)


def smooth_logits(rows: VideoRows, chosen: Filter, schema: pa.Schema, source: str, *, space: str = LOGITS) -> pa.Table:
    """One video's frames, each once and in order, filtered: its rows under a frame schema.

    `space` is that of the numbers; `source` is for errors.
    """
    smoothed, winner = filtered(rows, chosen, source, space=space)
    if winner is None:
        return frame_rows(schema, replace(rows, logits=smoothed))
    classes = schema.names[-1 - smoothed.shape[1] : -1]
    labels = pc.take(pa.array(classes, pa.string()), pa.array(winner, mask=winner < 0))
    return frame_rows(schema, replace(rows, logits=smoothed), labels)


def filtered(
    rows: VideoRows, chosen: Filter, source: str, *, space: str = LOGITS
) -> tuple[np.ndarray, np.ndarray | None]:
    """One video's numbers [n, C], filtered; under `mode` the shares, and the winning class [n], -1 where none is."""
    logits = np.ascontiguousarray(rows.logits.T)
    known = ~np.isnan(logits)
    seen = known & _seen(rows, chosen, source)
    if chosen.method != "mode":
        smoothed = FILTERS[chosen.method or "median"](logits, chosen.kernel, seen)
        if space != LOGITS:
            smoothed = _of_sum_1(smoothed, logits, chosen.kernel, seen)
        # Missing logits stay missing unless they are to be filled.
        kept = smoothed if chosen.exclude_faceless or known.all() else np.where(known, smoothed, np.nan)
        return kept.T, None
    own, present = largest(logits.T)
    shares, winner = mode(own, chosen.kernel, present & seen.any(axis=0), len(logits), known=present)
    winner = np.where(present | chosen.exclude_faceless, winner, -1)
    shares[:, winner < 0] = np.nan
    return shares.T, winner


def _of_sum_1(smoothed: np.ndarray, values: np.ndarray, kernel: int, seen: np.ndarray) -> np.ndarray:
    """Filtered probabilities [C, n] divided by their sum over the classes.

    Where every class's median is 0, as of votes for three classes in turn, the window's mean stands in for it.
    """
    sums = np.nansum(smoothed, axis=0)
    if ((sums <= 0) & ~np.isnan(smoothed).all(axis=0)).any():
        smoothed = np.where(sums > 0, smoothed, mean(values, kernel, seen))
        sums = np.nansum(smoothed, axis=0)
    return np.asarray(smoothed / np.where(sums > 0, sums, 1))


def _seen(rows: VideoRows, chosen: Filter, source: str) -> np.ndarray | bool:
    """Which rows show a face, where those that do not are to be left out."""
    if not chosen.exclude_faceless or "face" not in rows.carried.column_names:
        return True
    return faces(rows, source)


def _for_table(table: LogitTable, chosen: Filter) -> Filter:
    if table.has_logits:
        return replace(chosen, method=chosen.method or "median")
    if chosen.method not in (None, "mode"):
        raise UsageError(f"{table.name} has only labels, which have no {chosen.method}: use --method mode.")
    return replace(chosen, method="mode")


def _first_of_each_meaning(names: Sequence[object]) -> list[int]:
    """For each label the place of the first one that means the same: `happy` and `Joy` are votes for one class.

    Labels that count as Other elsewhere (contempt) remain apart.
    """
    first: dict[object, int] = {}
    for place, name in enumerate(names):
        first.setdefault(_meaning(name), place)
    return [first[_meaning(name)] for name in names]


def _meaning(label: object) -> object:
    meant = class_of(label) if isinstance(label, str) and not counted_as_other([label]) else None
    return ("a class", meant) if meant else label


def _class_order(label: object) -> tuple[int, object]:
    """The eight classes in their order, by any word for them, then others in theirs."""
    number = number_of(label) if isinstance(label, str) else None
    return (len(CLASSES), label) if number is None else (number, label)


# --- filters: values [C, n], kernel (odd), seen bool [C, n] → [C, n]; what sees nothing keeps its own value -----------


def median(values: np.ndarray, kernel: int, seen: np.ndarray) -> np.ndarray:
    """The median of what each window sees; of an even number, the mean of the two in the middle."""
    if seen.all():
        return _sliding_median(_padded(values, kernel), kernel)
    # What is not seen becomes -inf and +inf by turns, so that every window has as many of the one as of the other:
    # its middle is then the median of the rest. Where they differ by one, starting with the other sign gives the
    # other of the two values in the middle.
    hidden = ~_padded(seen, kernel)
    infinite = np.where(np.cumsum(hidden, axis=1) % 2, np.inf, -np.inf).astype(values.dtype)
    padded = _padded(values, kernel)
    lower = _sliding_median(np.where(hidden, infinite, padded), kernel).astype(np.float64)
    upper = _sliding_median(np.where(hidden, -infinite, padded), kernel)
    none = _window_sums(seen, kernel) == 0
    with np.errstate(invalid="ignore"):
        middle = (lower + upper) / 2
    return np.where(none, values, middle)


def mean(values: np.ndarray, kernel: int, seen: np.ndarray) -> np.ndarray:
    """The mean of what each window sees, in float64."""
    filled = np.where(seen, values, 0.0).astype(np.float64)
    counts = _window_sums(seen, kernel)
    return np.where(counts == 0, values, _float_sums(_padded(filled, kernel), kernel) / np.maximum(counts, 1))


def gaussian(values: np.ndarray, kernel: int, seen: np.ndarray) -> np.ndarray:
    """Gaussian weights in float64, sigma = kernel / 6, so that the window reaches 3 sigma to either side."""
    from scipy.ndimage import gaussian_filter1d

    def weighted(numbers: np.ndarray) -> np.ndarray:
        reach = kernel // 2
        return np.asarray(gaussian_filter1d(numbers, kernel / 6, axis=1, mode="nearest", radius=reach))

    sums = weighted(np.where(seen, values, 0.0).astype(np.float64))
    if seen.all():
        return sums
    weights = weighted(seen.astype(np.float64))
    return np.where(weights == 0, values, sums / np.where(weights == 0, 1.0, weights))


FILTERS = {"median": median, "mean": mean, "gaussian": gaussian}


def mode(
    own: np.ndarray, kernel: int, seen: np.ndarray, classes: int, *, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The shares [classes, n] of the labels that each window sees, and the most frequent label [n].

    `own` int [n] are the labels, `known` says where there is one, `seen` where it takes part in windows. Of equally
    frequent labels the own one wins, else the first class. A window that sees nothing keeps the own label; where
    there is none either, the shares are NaN and the label is -1.
    """
    ballots = (own == np.arange(classes)[:, None]) & seen
    counts = _window_sums(ballots, kernel)
    blind = ~counts.any(axis=0)
    counts[own[blind & known], np.flatnonzero(blind & known)] = 1
    most = counts.max(axis=0, initial=0)
    keeps_own = known & (counts[np.where(known, own, 0), np.arange(len(own))] == most) if classes else known
    winner = np.where(keeps_own, own, counts.argmax(axis=0)) if classes else np.full(len(own), -1)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=0)
    return shares, np.where(most > 0, winner, -1)


def _padded(values: np.ndarray, kernel: int) -> np.ndarray:
    return np.pad(values, ((0, 0), (kernel // 2, kernel // 2)), mode="edge")


def _sliding_median(padded: np.ndarray, kernel: int) -> np.ndarray:
    """Medians [C, n] of every window of [C, n + kernel - 1]."""
    # One long row at a time is fastest; windows that reach over from one row into the next are left out after.
    medians = np.empty(padded.shape, padded.dtype)
    medians.ravel()[: padded.size - kernel + 1] = window_medians(padded.ravel(), kernel)
    return medians[:, : padded.shape[1] - kernel + 1]


def _window_sums(counted: np.ndarray, kernel: int) -> np.ndarray:
    """How many of each window of `counted` bool [C, n] are true, repeats at the edges included."""
    sums = np.cumsum(np.pad(_padded(counted, kernel), ((0, 0), (1, 0))), axis=1, dtype=np.int64)
    return np.asarray(sums[:, kernel:] - sums[:, :-kernel])


def _float_sums(padded: np.ndarray, kernel: int) -> np.ndarray:
    """The sums [C, n] of every window of [C, n + kernel - 1], each of its own numbers only.

    A running sum would carry an infinite number, or what a huge one leaves in the last digits, to the video's end.
    Instead the rows are cut into blocks as long as a window, which is then the end of one and the beginning of the
    next.
    """
    classes, length = padded.shape
    blocks = np.pad(padded, ((0, 0), (0, -length % kernel))).reshape(classes, -1, kernel)
    with np.errstate(invalid="ignore"):  # +inf and -inf in one window have no sum: NaN
        beginnings = np.cumsum(blocks, axis=2).reshape(classes, -1)
        ends = np.cumsum(blocks[:, :, ::-1], axis=2)[:, :, ::-1]
        ends[:, :, 0] = 0.0  # a window that begins with a block is that block's beginning alone
        return np.asarray(ends.reshape(classes, -1)[:, : length - kernel + 1] + beginnings[:, kernel - 1 : length])
