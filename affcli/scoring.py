"""Joins predictions to labels by frame number and counts them: `affcli score` between reading and printing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.annotations import VideoLabels, class_numbers
from affcli.errors import AffcliError, UsageError, counted, listed
from affcli.logits import LogitTable, VideoRows
from affcli.metrics import Counts, Tally, confusion
from affcli.schema import CLASSES, NOT_ANNOTATED

# Aff-Wild2's label files have up to two lines more than their video has frames (302 of 317 have none to two).
TRAILING_LABELS: Final = 2
NO_PREDICTION: Final = NOT_ANNOTATED

_log = logging.getLogger(__name__)

Numbers = NDArray[np.int8]


@dataclass(frozen=True)
class Rules:
    """Which frames count, and which column names the prediction."""

    faces_only: bool = False
    allow_missing: bool = False
    label_column: str | None = None


@dataclass
class _Gaps:
    """Labelled frames without a prediction, by video; predicted videos without labels."""

    frames: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)

    def add(self, video: str, frames: NDArray[np.int64]) -> None:
        if frames.size:
            self.frames[video] = frames


def tally(table: LogitTable, labels: Mapping[str, VideoLabels], rules: Rules) -> Tally:
    """Counts every labelled frame of every video by its true and its predicted class.

    Raises AffcliError where a labelled frame has no prediction (unless `rules.allow_missing`), where a frame has two,
    and where the classes are not the eight.
    """
    predict = predictor(table, rules.label_column)
    if rules.faces_only and "face" not in table.carried_schema.names:
        raise AffcliError(f"{table.name} has no column 'face', so --faces-only cannot tell which frames have one.")
    matrices: dict[str, Counts] = {}
    gaps, seen = _Gaps(), set()
    for rows in table.videos():
        seen.add(rows.video)
        if rows.video in labels:
            matrices[rows.video], missing = _count(rows, labels[rows.video].labels, predict(rows), rules)
            gaps.add(rows.video, missing)
        else:
            gaps.unlabelled.append(rows.video)
    for video in sorted(labels.keys() - seen):
        gaps.add(video, _labelled_frames(labels[video].labels))
    _report_gaps(gaps, table.name, rules)
    return _collected(matrices, gaps, table.name)


def _count(rows: VideoRows, labels: Numbers, predicted: Numbers, rules: Rules) -> tuple[Counts, NDArray[np.int64]]:
    """The video's confusion matrix, and its labelled frames that have no prediction."""
    wanted = _labelled_frames(labels)
    own = matching_rows(wanted, rows.frame)
    has = np.flatnonzero(predicted != NO_PREDICTION)
    row = matching_rows(wanted, rows.frame[has], trailing=TRAILING_LABELS)
    covered = row >= 0
    row[covered] = has[row[covered]]
    if rules.faces_only:
        # A frame that has no prediction is known to have no face by its own row.
        faces = _faces(rows)
        at = np.where(covered, row, own)
        counts = (at < 0) | faces[at]
        wanted, row, covered = wanted[counts], row[counts], covered[counts]
    return confusion(labels[wanted[covered] - 1], predicted[row[covered]]), wanted[~covered]


def _labelled_frames(labels: Numbers) -> NDArray[np.int64]:
    return np.flatnonzero(labels != NOT_ANNOTATED) + 1


def matching_rows(wanted: NDArray[np.int64], frame: NDArray[np.int64], *, trailing: int = 0) -> NDArray[np.int64]:
    """For each wanted frame number the index of the row that has it, -1 where none; both ascending, without repeats.

    Up to `trailing` frames past the last row take the last row.
    """
    if not frame.size:
        return np.full(wanted.size, -1, np.int64)
    at = np.minimum(np.searchsorted(frame, wanted), frame.size - 1)
    last = frame[-1]
    found = (frame[at] == wanted) | ((wanted > last) & (wanted <= last + trailing))
    return np.where(found, at, -1)


def _faces(rows: VideoRows) -> NDArray[np.bool_]:
    column = rows.carried["face"].cast(pa.bool_()).fill_null(False)
    return np.asarray(column.to_numpy(), bool)


# --- which column is the prediction ----------------------------------------------------------------------------------


def predictor(table: LogitTable, label_column: str | None) -> Callable[[VideoRows], Numbers]:
    """What gives the predicted class number of each of a video's rows, -1 where there is none.

    A column that was named counts; in tables of ours `label`; elsewhere the logits, since a `label` there is often the
    truth; a table without logits has only its `label`.
    """
    others = table.carried_schema.names
    if label_column is not None and label_column not in others:
        raise AffcliError(f"{table.name} has no column '{label_column}' beside its logits. Correct --label-column.")
    if label_column is None and "label" in others and (table.ours or not table.has_logits):
        label_column = "label"
    if label_column is not None:
        return _by_label(label_column, table.name)
    if "label" in others:
        _log.warning("%s: its logits count, not its column 'label'; --label-column label would take that.", table.name)
    return _by_logits(table)


def _by_label(column: str, source: str) -> Callable[[VideoRows], Numbers]:
    def predict(rows: VideoRows) -> Numbers:
        _refuse_duplicates(rows, source)
        return class_numbers(rows.carried[column], f"{source}: column '{column}'")

    return predict


def _by_logits(table: LogitTable) -> Callable[[VideoRows], Numbers]:
    require_the_eight(table)

    def predict(rows: VideoRows) -> Numbers:
        _refuse_duplicates(rows, table.name)
        missing = np.isnan(rows.logits)
        best: Numbers = np.where(missing, -np.inf, rows.logits).argmax(1).astype(np.int8)
        best[missing.all(1)] = NO_PREDICTION
        return best

    return predict


def require_the_eight(table: LogitTable) -> None:
    """Raises unless the table's logits are those of the eight classes (a LogitTable then has them in order)."""
    if table.classes == CLASSES:
        return
    lacking = [name for name in CLASSES if name not in table.classes]
    foreign = [name for name in table.classes if name not in CLASSES]
    found = f"lacks {listed(lacking)}" if lacking else "has more than the eight classes"
    found += f" and has {listed(foreign)}" if foreign else ""
    example = f"{foreign[0]}={lacking[0] if lacking else 'Other'}" if foreign else "NAME=CLASS"
    raise UsageError(
        f"{table.name} {found} (columns taken as logits: {listed(table.classes, limit=12)}). "
        f"Rename with --map {example}, or name the eight with --classes."
    )


def _refuse_duplicates(rows: VideoRows, source: str) -> None:
    twice = np.flatnonzero(rows.frame[1:] == rows.frame[:-1])
    if twice.size:
        raise AffcliError(
            f"{source}: video '{rows.video}' has several rows for frame {rows.frame[twice[0]]}. "
            "Average them first: affcli vote."
        )


# --- what is missing -------------------------------------------------------------------------------------------------


def _report_gaps(gaps: _Gaps, source: str, rules: Rules) -> None:
    if gaps.unlabelled:
        ignored = counted(len(gaps.unlabelled), "video")
        _log.warning("%s: %s without labels ignored: %s.", source, ignored, listed(gaps.unlabelled))
    if gaps.frames and not rules.allow_missing:
        named = [f"{video} ({_described(frames)})" for video, frames in gaps.frames.items()]
        raise AffcliError(
            f"{source}: labelled frames without a prediction in {counted(len(named), 'video')}: "
            f"{listed(named, limit=5)}. Score the others with --allow-missing."
        )


def _described(frames: NDArray[np.int64]) -> str:
    return f"frame {frames[0]}" if frames.size == 1 else f"{frames.size} frames from {frames[0]}"


def _collected(matrices: Mapping[str, Counts], gaps: _Gaps, source: str) -> Tally:
    scored = {video: matrix for video, matrix in matrices.items() if matrix.any()}
    if not scored:
        raise AffcliError(
            f"{source}: no labelled frame has a prediction; do the video names in labels and table agree?"
        )
    confusions = np.stack(list(scored.values()))
    missing = sum(frames.size for frames in gaps.frames.values())
    return Tally(tuple(scored), confusions, int(confusions.sum()) + missing, table=source)
