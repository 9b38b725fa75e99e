"""Fits per-class offsets for macro F1, and judges them by cross-validation over videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.labels.reader import VideoLabels
from affcli.predictions.calibration import KIND, Calibration
from affcli.predictions.logit_table import LogitTable
from affcli.schema import CLASSES, recording_of
from affcli.scoring.metrics import Compared, Counts, Tally, macro_f1
from affcli.scoring.predictor import by_logits, class_numbers_of
from affcli.scoring.tally import Rules, matched

# One class's offset is tried at these multiples of the logits' spread, the others staying as they are, class by class
# and round by round until nothing is gained. Offsets beyond give a class to all frames, or to none.
STEPS: Final = np.linspace(-4, 4, 161)
MOST_ROUNDS: Final = 20
LEAST_GAIN: Final = 1e-5

Floats = NDArray[np.float64]
Numbers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Judged:
    """Labelled frames with their numbers: `logits` float64 [C, n], -inf where missing, and throughout for a class that
    the model does not know; `truth` [n]; `video` [n], the index in `videos` of each frame's."""

    logits: Floats
    truth: Numbers
    video: Numbers
    videos: tuple[str, ...]

    def only(self, chosen: NDArray[np.bool_]) -> Judged:
        """Some of the frames."""
        return Judged(self.logits[:, chosen], self.truth[chosen], self.video[chosen], self.videos)


def fit(judged: Judged) -> Floats:
    """Offsets [C] that raise macro F1 on these frames, with mean 0: coordinate ascent over STEPS from all 0.

    The offset of a class that the model does not know is 0, and takes no part in the mean.
    """
    grid = STEPS * _spread(judged.logits)
    offsets = np.zeros(len(judged.logits))
    known = np.flatnonzero(np.isfinite(judged.logits).any(axis=1))
    best = 0.0
    for _ in range(MOST_ROUNDS):
        before = best
        for number in known.tolist():
            offsets[number], best = _best_offset(judged, offsets, number, grid)
        if best - before < LEAST_GAIN:
            break
    # What the subtraction leaves in the last digits is nothing, and + 0.0 makes -0.0 of it 0.0.
    offsets[known] = np.round(offsets[known] - offsets[known].mean(), 12) + 0.0
    return offsets


def _spread(logits: Floats) -> float:
    """The standard deviation of the logits around their frame's mean; 1 where there is none."""
    known = np.where(np.isfinite(logits), logits, np.nan)
    known = known[:, ~np.isnan(known).all(axis=0)]
    return (float(np.nanstd(known - np.nanmean(known, axis=0))) if known.size else 0.0) or 1.0


def _best_offset(judged: Judged, offsets: Floats, number: int, grid: Floats) -> tuple[float, float]:
    """The offset of class `number` in `grid` with the largest macro F1, and that F1; of equals the one nearest to 0."""
    found = macro_f1(_confusions(judged, offsets, number, grid))
    winners = np.flatnonzero(found >= found.max() - 1e-12)
    winner = winners[np.argmin(np.abs(grid[winners]))]
    return float(grid[winner]), float(found[winner])


def _confusions(judged: Judged, offsets: Floats, number: int, grid: Floats) -> Counts:
    """The confusion matrix [G, C, C] for each offset in `grid` of class `number`, in one pass over the frames.

    A frame goes to the class at the first grid value that lifts its logit over its rival's, the largest of the others,
    and stays with it. So frames are counted by that value, truth and rival, and the counts are summed up the grid.
    """
    size = len(offsets)
    rival, height = _rivals(judged.logits, offsets, number)
    needed = height - judged.logits[number]
    first = np.searchsorted(grid, needed)
    at = np.minimum(first, grid.size - 1)
    first = first + ((grid[at] == needed) & (rival < number))  # a tie goes to the first class
    cells = (first * size + judged.truth) * size + rival
    counts = np.bincount(cells, minlength=(grid.size + 1) * size * size).reshape(-1, size, size)
    gone = counts[:-1].cumsum(0)
    confusions: Counts = counts.sum(0) - gone
    confusions[:, :, number] = gone.sum(2)
    return confusions


def _rivals(logits: Floats, offsets: Floats, number: int) -> tuple[Numbers, Floats]:
    """The class with the largest logit besides `number`, the first of equals, and that logit with its offset."""
    others = [i for i in range(len(logits)) if i != number]
    rival = np.full(logits.shape[1], others[0])
    height = logits[others[0]] + offsets[others[0]]
    for other in others[1:]:
        raised = logits[other] + offsets[other]
        better = raised > height
        rival[better] = other
        np.maximum(height, raised, out=height)
    return rival, height


# --- judging ---------------------------------------------------------------------------------------------------------


def judged_frames(table: LogitTable, labels: Mapping[str, VideoLabels], rules: Rules) -> Judged:
    """All labelled frames that have logits, in memory, with a row for each of the eight classes; see `matched` for
    errors."""
    number = class_numbers_of(table)
    logits, truth, videos = [], [], []
    for found in matched(table, labels, rules, by_logits(table)):
        if found.truth.size:
            own = np.full((len(CLASSES), found.truth.size), -np.inf)
            own[number] = found.rows.logits[found.row].T
            logits.append(own)
            truth.append(found.truth)
            videos.append(found.video)
    whole = np.concatenate(logits, axis=1)
    whole[np.isnan(whole)] = -np.inf
    video = np.repeat(np.arange(len(videos)), [part.size for part in truth])
    return Judged(whole, np.concatenate(truth).astype(np.intp), video, tuple(videos))


def cross_validated(judged: Judged, *, folds: int, seed: int) -> Numbers:
    """Each frame's class with offsets fitted to the other folds' videos (see `folds_of`)."""
    fold = folds_of(judged, folds=folds, seed=seed)
    predicted = np.empty(judged.truth.size, np.intp)
    for one in np.unique(fold).tolist():
        held_out = fold == one
        predicted[held_out] = classified(judged.logits[:, held_out], fit(judged.only(~held_out)))
    return predicted


def folds_of(judged: Judged, *, folds: int, seed: int) -> Numbers:
    """The fold of each frame [n]; the seed deals the videos out. People of one recording (`X_left`, `X_right`) go
    together.
    """
    recordings, recording = np.unique([recording_of(video) for video in judged.videos], return_inverse=True)
    count = len(recordings)
    if count < 2:
        raise AffcliError("there is only one recording with labels: the gain cannot be judged on videos not fitted to.")
    fold_of = np.empty(count, int)
    fold_of[np.random.default_rng(seed).permutation(count)] = np.arange(count) % min(folds, count)
    return np.asarray(fold_of[recording][judged.video])


def classified(logits: Floats, offsets: Floats) -> Numbers:
    """The class [n] with the largest logit of [C, n] after its offset, the first of equals."""
    return np.asarray((logits + offsets[:, None]).argmax(0))


def counted_by_video(judged: Judged, predicted: Numbers, name: str) -> Tally:
    """The frames counted by video, truth and predicted class; `name` is what the report calls this prediction."""
    size = len(judged.logits)
    cells = (judged.video * size + judged.truth) * size + predicted
    counts = np.bincount(cells, minlength=len(judged.videos) * size * size)
    known = np.flatnonzero(np.isfinite(judged.logits).any(axis=1))
    names = tuple(CLASSES[number] for number in known.tolist())
    return Tally(judged.videos, counts.reshape(-1, size, size), judged.truth.size, table=name, known=names)


def as_object(calibration: Calibration, found: Sequence[Compared], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object of a calibration file: the offsets and, from `found` (plain, cross-validated), their gain."""
    plain, calibrated = found
    gain = calibrated.difference
    return {
        "kind": KIND,
        "version": calibration.file_version,
        "space": calibration.space,
        "offsets": calibration.by_class,
        "frames": plain.score.frames,
        "videos": plain.score.videos,
        **facts,
        "macro_f1": plain.score.macro_f1,
        "macro_f1_cross_validated": calibrated.score.macro_f1,
        "gain": gain.macro_f1,
        "gain_ci": None if gain.macro_f1_ci is None else [gain.macro_f1_ci.low, gain.macro_f1_ci.high],
    }
