"""Scores as people read them (lines and grids) and as machines do (one JSON object)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from affcli.console.printing import Grid, Report
from affcli.errors import counted, listed
from affcli.schema import CLASSES
from affcli.scoring.fit_temperature import Sureness
from affcli.scoring.metrics import ClassScore, Compared, Difference, Interval, Score, Tally

JSON_VERSION: Final = 1
# Below these an interval from resampled videos says little: a resampling may lack a class altogether.
FEW_VIDEOS: Final = 20
FEW_VIDEOS_OF_A_CLASS: Final = 5


FIGURES: Final = {"macro_f1": "macro F1", "accuracy": "accuracy"}


def report(tables: Sequence[Compared], *, per_video: bool = False) -> Report:
    """What a person wants to see: of one table all figures, of several a row each with differences to the first."""
    first = tables[0].score
    notes = reasons(tables)
    if len(tables) == 1:
        parts: list[str | Grid] = [_counts(first), _headline(first), *_named(first), *notes]
        parts += [_classes(first), _confusion(first)]
    else:
        parts = [_counts(first), *(_differences(tables, figure) for figure in FIGURES), *notes]
    if per_video:
        parts += [_videos(one.score, title=one.tally.table if len(tables) > 1 else "") for one in tables]
    return parts


def _differences(tables: Sequence[Compared], figure: str) -> Grid:
    interval = f"{figure}_ci"
    rows = tuple(
        (
            one.tally.table,
            f"{getattr(one.score, figure):.4f}",
            interval_text(getattr(one.score, interval)),
            signed(getattr(one.difference, figure)) if i else "",
            _signed_interval(getattr(one.difference, interval)) if i else "",
        )
        for i, one in enumerate(tables)
    )
    return Grid("", (FIGURES[figure], "score", "95 % interval", "to the first", "95 % interval, paired"), rows)


def calibration_report(tables: Sequence[Compared], offsets: Mapping[str, float]) -> Report:
    """What calibration gains on videos that it was not fitted to, and its offsets."""
    rows = tuple((name, signed(offset)) for name, offset in offsets.items())
    return [*report(tables), Grid("", ("class", "offset"), rows)]


def temperature_report(temperature: float, found: tuple[Sureness, Sureness]) -> Report:
    """What a temperature does for the probabilities of videos that it was not fitted to."""
    rows = tuple(
        (name, f"{one.ece:.4f}", f"{one.log_loss:.4f}")
        for name, one in zip(("as it is", "cross-validated"), found, strict=True)
    )
    head = ("", "expected calibration error", "log-loss")
    return [f"temperature {temperature:.4g}", Grid("", head, rows)]


def _counts(score: Score) -> str:
    classes = f"{score.classes_present} of {len(score.per_class)} classes present"
    covered = f"coverage {percent(score.coverage)} of the labelled frames"
    return f"{counted(score.frames, 'frame')} of {counted(score.videos, 'video')}, {covered}, {classes}"


def percent(share: float) -> str:
    """A share as people read it; 100 % and 0 % only where it is exact."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(100 * share, 0.01), 99.99):.2f} %"


def _named(score: Score) -> list[str]:
    """What the labels that were sure are worth, where some were not."""
    if score.named == 1:
        return []
    return [f"{percent(score.named)} of the frames are named, {percent(score.named_accuracy)} of these rightly."]


def _headline(score: Score) -> Grid:
    """Macro F1 over the eight classes and accuracy; below, macro F1 over those that the model knows, if not all."""
    rows = tuple(
        (name, f"{getattr(score, figure):.4f}", interval_text(getattr(score, f"{figure}_ci")))
        for figure, name in FIGURES.items()
    )
    if score.known != CLASSES:
        rows += ((f"macro F1 over the {len(score.known)} known classes", f"{score.macro_f1_known:.4f}", ""),)
    if score.macro_f1_ci is None:
        return Grid("", ("", "score"), tuple(row[:2] for row in rows))
    return Grid("", ("", "score", "95 % interval"), rows)


def interval_text(interval: Interval | None) -> str:
    """An interval as `low to high`; empty where there is none."""
    return "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def signed(number: float) -> str:
    """A difference with its sign; what rounds to nothing is +0.0000."""
    return f"{round(number, 4) + 0.0:+.4f}"


def _signed_interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{signed(interval.low)} to {signed(interval.high)}"


def reasons(tables: Sequence[Compared]) -> list[str]:
    """Why intervals do not hold their own figures, where that is so. The text report says it under its figures."""
    return list(dict.fromkeys(filter(None, (_why_excluded(one.score) for one in tables))))


def _why_excluded(score: Score) -> str:
    figures = ((name, getattr(score, figure), getattr(score, f"{figure}_ci")) for figure, name in FIGURES.items())
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


def _videos(score: Score, *, title: str = "") -> Grid:
    rows = tuple(
        (one.video, f"{one.frames:,}", f"{one.accuracy:.4f}", f"{one.macro_f1:.4f}") for one in score.per_video
    )
    return Grid(title, ("video", "frames", "accuracy", "macro F1"), rows)


def cautions(tables: Sequence[Compared]) -> list[str]:
    """What a reader of these figures should know, a sentence each, with the table's name where not true of all."""
    found = [_cautions(one.score, one.tally) for one in tables]
    if all(said == found[0] for said in found):
        return found[0]
    said = [f"{one.tally.table}: {caution}" for one, own in zip(tables, found, strict=True) for caution in own]
    if any(one.score.frames != tables[0].score.frames for one in tables):
        said.append("the tables are scored on different frames, and differ for that reason too.")
    return said


def _cautions(score: Score, tally: Tally) -> list[str]:
    said = []
    if score.frames < tally.labelled:
        left_out = counted(tally.labelled - score.frames, "labelled frame")
        said.append(f"{left_out} without a prediction left out: coverage {percent(score.coverage)}.")
    absent = [one.name for one in score.per_class if not one.support]
    if absent:
        best = score.classes_present / len(score.per_class)
        said.append(f"no frame is labelled {listed(absent)}: each counts 0, so macro F1 cannot exceed {best:.3f}.")
    return said + (_cautions_on_intervals(tally) if score.macro_f1_ci is not None else [])


def _cautions_on_intervals(tally: Tally) -> list[str]:
    if len(tally.videos) < FEW_VIDEOS:
        return [f"the intervals mean little: resampled from only {counted(len(tally.videos), 'video')}."]
    standing = (tally.confusions.sum(2) > 0).sum(0)
    rare = [
        f"{name} in {count}" for name, count in zip(CLASSES, standing, strict=True) if 0 < count < FEW_VIDEOS_OF_A_CLASS
    ]
    return [f"the intervals mean little: some classes stand in few videos ({listed(rare)})."] if rare else []


def as_object(tables: Sequence[Compared], *, per_video: bool = False) -> dict[str, Any]:
    """The JSON object of `affcli score --json`, a contract: keys are added, never changed.

    `classes_known` and `macro_f1_known` are there only for a model that lacks some of the eight classes.

    One table's figures stand at the top; several stand as a list under `tables`, with name and difference to the first.
    """
    found = [_figures(one.score, per_video=per_video) for one in tables]
    if len(tables) == 1:
        return {"version": JSON_VERSION, **found[0]}
    named = [
        {"name": one.tally.table, **figures, "difference": _difference_object(one.difference)}
        for one, figures in zip(tables, found, strict=True)
    ]
    return {"version": JSON_VERSION, "tables": named}


def _figures(score: Score, *, per_video: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
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
        "named": score.named,
        "named_accuracy": score.named_accuracy,
    }
    if score.known != CLASSES:
        found |= {"classes_known": list(score.known), "macro_f1_known": score.macro_f1_known}
    return found | {"per_video": [vars(one) for one in score.per_video]} if per_video else found


def _difference_object(difference: Difference) -> dict[str, Any]:
    return {
        "accuracy": difference.accuracy,
        "macro_f1": difference.macro_f1,
        "macro_f1_ci": _pair(difference.macro_f1_ci),
        "accuracy_ci": _pair(difference.accuracy_ci),
    }


def _class_object(one: ClassScore) -> dict[str, Any]:
    return {
        "class": one.name,
        "precision": one.precision,
        "recall": one.recall,
        "f1": one.f1,
        "support": one.support,
    }


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
