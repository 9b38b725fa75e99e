"""Scores as people read them (lines and grids) and as machines do (one JSON object)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from affcli.errors import counted, listed
from affcli.metrics import Interval, Score, Tally
from affcli.schema import CLASSES

JSON_VERSION: Final = 1
# Below these an interval from resampled videos says little: a resampling may lack a class altogether.
FEW_VIDEOS: Final = 20
FEW_VIDEOS_OF_A_CLASS: Final = 5


@dataclass(frozen=True)
class Grid:
    """A table of texts: the first column is named by its rows, the others hold numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Report = Sequence[str | Grid]


def report(score: Score, *, per_video: bool = False) -> Report:
    """What a person wants to see: headline figures with intervals, each class, the confusion matrix."""
    parts: list[str | Grid] = [_counts(score), _headline(score), *_footnotes(score), _classes(score), _confusion(score)]
    return [*parts, _videos(score)] if per_video else parts


def as_text(parts: Report) -> str:
    """The report as aligned plain text, ending in a newline."""
    return "\n\n".join(part if isinstance(part, str) else _aligned(part) for part in parts) + "\n"


def _aligned(grid: Grid) -> str:
    rows = [grid.header, *grid.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    title = [grid.title] if grid.title else []
    return "\n".join([*title, *(_padded(row, widths) for row in rows)])


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()


def _counts(score: Score) -> str:
    classes = f"{score.classes_present} of {len(score.per_class)} classes present"
    covered = f"coverage {percent(score.coverage)} of the labelled frames"
    return f"{counted(score.frames, 'frame')} of {counted(score.videos, 'video')}, {covered}, {classes}"


def percent(share: float) -> str:
    """A share as people read it; 100 % and 0 % only where it is exact."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(100 * share, 0.01), 99.99):.2f} %"


def _headline(score: Score) -> Grid:
    rows = (
        ("macro F1", f"{score.macro_f1:.4f}", interval_text(score.macro_f1_ci)),
        ("accuracy", f"{score.accuracy:.4f}", interval_text(score.accuracy_ci)),
    )
    if score.macro_f1_ci is None:
        return Grid("", ("", "score"), tuple(row[:2] for row in rows))
    return Grid("", ("", "score", "95 % interval"), rows)


def interval_text(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def _footnotes(score: Score) -> list[str]:
    return [reason for reason in (why_excluded(score),) if reason]


def why_excluded(score: Score) -> str:
    """Why an interval does not hold its own figure; empty where both do."""
    figures = (("macro F1", score.macro_f1, score.macro_f1_ci), ("accuracy", score.accuracy, score.accuracy_ci))
    outside = [name for name, figure, interval in figures if interval is not None and figure not in interval]
    if not outside:
        return ""
    return (
        f"The interval of {' and '.join(outside)} does not hold the figure itself: most resamplings of these few "
        "videos lack a class, which then counts 0."
    )


def _classes(score: Score) -> Grid:
    rows = tuple(
        (one.name, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}", f"{one.support:,}")
        for one in score.per_class
    )
    return Grid("", ("class", "precision", "recall", "F1", "frames"), rows)


def _confusion(score: Score) -> Grid:
    totals = score.confusion.sum(1, keepdims=True)
    shares = 100 * score.confusion / np.maximum(totals, 1)
    rows = tuple(
        (name, *(f"{share:.1f}" if total else "-" for share in row))
        for name, row, total in zip(CLASSES, shares, totals, strict=True)
    )
    return Grid("confusion, rows = truth, columns = prediction, in % of the row", ("", *CLASSES), rows)


def _videos(score: Score) -> Grid:
    rows = tuple(
        (one.video, f"{one.frames:,}", f"{one.accuracy:.4f}", f"{one.macro_f1:.4f}") for one in score.per_video
    )
    return Grid("", ("video", "frames", "accuracy", "macro F1"), rows)


def cautions(score: Score, tally: Tally) -> list[str]:
    """What a reader of these figures should know, a sentence each."""
    said = []
    if score.frames < tally.labelled:
        left_out = tally.labelled - score.frames
        said.append(
            f"{counted(left_out, 'labelled frame')} without a prediction left out: coverage {percent(score.coverage)}."
        )
    absent = [one.name for one in score.per_class if not one.support]
    if absent:
        best = score.classes_present / len(score.per_class)
        said.append(f"no frame is labelled {listed(absent)}: each counts 0, so macro F1 cannot exceed {best:.3f}.")
    return said + (_cautions_on_intervals(tally) if score.macro_f1_ci is not None else [])


def _cautions_on_intervals(tally: Tally) -> list[str]:
    reasons = []
    if len(tally.videos) < FEW_VIDEOS:
        reasons.append(f"resampled from only {counted(len(tally.videos), 'video')}")
    standing = (tally.confusions.sum(2) > 0).sum(0)
    rare = [
        f"{name} in {count}" for name, count in zip(CLASSES, standing, strict=True) if 0 < count < FEW_VIDEOS_OF_A_CLASS
    ]
    if rare:
        reasons.append(f"some classes stand in few videos ({listed(rare)})")
    return [f"the intervals mean little: {'; '.join(reasons)}."] if reasons else []


def as_object(score: Score, *, per_video: bool = False) -> dict[str, Any]:
    """The JSON object of `affcli score --json`, a contract: keys are added, never changed."""
    found: dict[str, Any] = {
        "version": JSON_VERSION,
        "frames": score.frames,
        "videos": score.videos,
        "classes_present": score.classes_present,
        "coverage": score.coverage,
        "accuracy": score.accuracy,
        "macro_f1": score.macro_f1,
        "macro_f1_ci": _pair(score.macro_f1_ci),
        "accuracy_ci": _pair(score.accuracy_ci),
        "per_class": [_class_object(one) for one in score.per_class],
        "confusion": score.confusion.tolist(),
    }
    if per_video:
        found["per_video"] = [vars(one) for one in score.per_video]
    return found


def _class_object(one: Any) -> Mapping[str, Any]:
    return {
        "class": one.name,
        "precision": one.precision,
        "recall": one.recall,
        "f1": one.f1,
        "support": one.support,
    }


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
