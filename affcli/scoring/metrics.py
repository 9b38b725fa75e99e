"""Confusion matrices and what follows from them: accuracy, F1, and their intervals over resampled videos. Pure numpy.

All frames of all videos are pooled, F1 is taken for each class, and macro F1 is the mean over *all* classes: one that
is neither present nor predicted counts 0 (the ABAW challenge's rule).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.schema import CLASSES

CONFIDENCE: Final = 0.95
_DRAWS_AT_ONCE = 1 << 18  # resampled video numbers held in memory at a time

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float

    def __contains__(self, figure: float) -> bool:
        return self.low <= figure <= self.high


@dataclass(frozen=True)
class ClassScore:
    """One class: precision, recall and F1 (0 where undefined), and the number of frames that it truly has."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class VideoScore:
    """One video by itself; its macro F1, too, is over all classes, so a class that the video lacks counts 0."""

    video: str
    frames: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, eq=False)
class Score:
    """What `affcli score` has to say of one table. `confusion[truth, predicted]` counts frames.

    `known` are the classes that the model knows; `macro_f1_known` is the mean F1 over those, of the same frames.
    """

    frames: int
    videos: int
    coverage: float
    accuracy: float
    macro_f1: float
    accuracy_ci: Interval | None
    macro_f1_ci: Interval | None
    per_class: tuple[ClassScore, ...]
    per_video: tuple[VideoScore, ...]
    confusion: Counts
    named: float  # the share of the frames that the table names
    named_accuracy: float  # of those frames; 0 where there are none
    known: tuple[str, ...] = CLASSES

    @property
    def macro_f1_known(self) -> float:
        """The mean F1 over the classes that the model knows."""
        return float(np.mean([one.f1 for one in self.per_class if one.name in self.known]))

    @property
    def classes_present(self) -> int:
        """The number of classes that at least one frame truly has."""
        return sum(scored.support > 0 for scored in self.per_class)


@dataclass(frozen=True)
class Difference:
    """How much more one table scores than another, with paired intervals."""

    accuracy: float
    macro_f1: float
    accuracy_ci: Interval | None
    macro_f1_ci: Interval | None


@dataclass(frozen=True, eq=False)
class Tally:
    """Frames counted by video, sorted by name: `confusions` is int64 [videos, truth, predicted].

    `labelled` also counts the frames that have a label but no prediction, which stand in no confusion. `named` int64
    [truth, predicted] counts the frames of all videos whose label is not null for want of confidence; None where all
    are named. `table` is what the user calls the predictions, `known` the classes that their model knows.
    """

    videos: tuple[str, ...]
    confusions: Counts
    labelled: int
    named: Counts | None = None
    table: str = ""
    known: tuple[str, ...] = CLASSES


@dataclass(frozen=True, eq=False)
class Compared:
    """A tally, its score, and the difference to the first of the tables compared."""

    tally: Tally
    score: Score
    difference: Difference


def confusion(truth: NDArray[np.integer], predicted: NDArray[np.integer], *, classes: int = len(CLASSES)) -> Counts:
    """Frames by true and predicted class number (both 0 … classes−1): int64 [classes, classes], rows = truth."""
    pairs = truth.astype(np.intp) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusions: NDArray[np.number]) -> Floats:
    """The share on the diagonal of [..., C, C]; 0 where there are no frames."""
    return _ratio(np.trace(confusions, axis1=-2, axis2=-1), confusions.sum((-2, -1)))


def f1(confusions: NDArray[np.number]) -> Floats:
    """F1 of each class of [..., C, C]: 2·hits / (true + predicted), 0 for a class neither present nor predicted."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    return _ratio(2 * hits, confusions.sum(-1) + confusions.sum(-2))


def macro_f1(confusions: NDArray[np.number]) -> Floats:
    """The mean of F1 over all classes of [..., C, C]."""
    return np.asarray(f1(confusions).mean(-1))


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros(whole.shape), where=whole != 0))


def score(tally: Tally, *, bootstrap: int = 1000, seed: int = 0) -> Score:
    """All figures of a tally, with intervals from `bootstrap` resamplings of its videos (0 = no intervals)."""
    return compare([tally], bootstrap=bootstrap, seed=seed)[0].score


def compare(tallies: Sequence[Tally], *, bootstrap: int = 1000, seed: int = 0) -> list[Compared]:
    """Each tally's figures and their differences to the first's, all from the same resamplings of the videos."""
    videos = sorted({video for tally in tallies for video in tally.videos})
    own = [_of_videos(tally, videos) for tally in tallies]
    confusions = np.stack(own) if len(own) > 1 else own[0][None]  # of a single table not copied
    resampled = resampled_figures(confusions, times=bootstrap, seed=seed) if bootstrap else None
    scores = [_score(tally, None if resampled is None else resampled[i]) for i, tally in enumerate(tallies)]
    return [
        Compared(tally, one, _difference(one, scores[0], None if resampled is None else resampled[i] - resampled[0]))
        for i, (tally, one) in enumerate(zip(tallies, scores, strict=True))
    ]


def _of_videos(tally: Tally, videos: Sequence[str]) -> Counts:
    """The tally's confusions, with zeros for videos that it lacks."""
    if tuple(videos) == tally.videos:
        return tally.confusions
    found = np.zeros((len(videos), *tally.confusions.shape[1:]), np.int64)
    found[np.searchsorted(videos, tally.videos)] = tally.confusions
    return found


def _score(tally: Tally, resampled: Floats | None) -> Score:
    pooled = tally.confusions.sum(0)
    frames = int(pooled.sum())
    return Score(
        frames=frames,
        videos=len(tally.videos),
        coverage=frames / tally.labelled if tally.labelled else 0.0,
        accuracy=float(accuracy(pooled)),
        macro_f1=float(macro_f1(pooled)),
        accuracy_ci=None if resampled is None else interval(resampled[:, 0]),
        macro_f1_ci=None if resampled is None else interval(resampled[:, 1]),
        per_class=_class_scores(pooled),
        per_video=_video_scores(tally),
        confusion=pooled,
        named=1.0 if tally.named is None else float(_ratio(tally.named.sum(), pooled.sum())),
        named_accuracy=float(accuracy(pooled if tally.named is None else tally.named)),
        known=tally.known,
    )


def _difference(one: Score, first: Score, resampled: Floats | None) -> Difference:
    return Difference(
        accuracy=one.accuracy - first.accuracy,
        macro_f1=one.macro_f1 - first.macro_f1,
        accuracy_ci=None if resampled is None else interval(resampled[:, 0]),
        macro_f1_ci=None if resampled is None else interval(resampled[:, 1]),
    )


def _class_scores(pooled: Counts, names: Sequence[str] = CLASSES) -> tuple[ClassScore, ...]:
    hits, support = np.diagonal(pooled), pooled.sum(1)
    columns = (_ratio(hits, pooled.sum(0)), _ratio(hits, support), f1(pooled), support)
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return tuple(ClassScore(*row) for row in rows)


def _video_scores(tally: Tally) -> tuple[VideoScore, ...]:
    columns = (tally.confusions.sum((1, 2)), accuracy(tally.confusions), macro_f1(tally.confusions))
    rows = zip(tally.videos, *(column.tolist() for column in columns), strict=True)
    return tuple(VideoScore(*row) for row in rows)


# --- intervals -------------------------------------------------------------------------------------------------------


def resampled_figures(confusions: Counts, *, times: int, seed: int) -> Floats:
    """Accuracy and macro F1 of `times` resamplings of the videos: [tables, times, 2].

    `confusions` is [tables, videos, C, C]. A resampling draws as many videos as there are, with replacement, and it is
    the same draw for every table, so the difference of two tables' figures is a paired one. Same seed, same draws.
    """
    tables, videos, classes, _ = confusions.shape
    flat = confusions.reshape(tables, videos, classes * classes).astype(np.float64)
    pooled = [counts @ flat for counts in _resampled_counts(videos, times, seed)]
    matrices = np.concatenate(pooled, axis=1).reshape(tables, times, classes, classes)
    return np.stack([accuracy(matrices), macro_f1(matrices)], axis=-1)


def _resampled_counts(videos: int, times: int, seed: int) -> Iterator[Floats]:
    """How often each video was drawn, in blocks [some of the times, videos] whose size leaves no trace in the draws."""
    generator = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // videos)
    for start in range(0, times, block):
        rows = min(block, times - start)
        drawn = generator.integers(0, videos, (rows, videos)) + np.arange(rows)[:, None] * videos
        yield np.bincount(drawn.ravel(), minlength=rows * videos).reshape(rows, videos).astype(np.float64)


def interval(figures: Floats) -> Interval:
    """The 95 % percentile interval of resampled figures."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(figures, [tail, 1 - tail])
    return Interval(float(low), float(high))
