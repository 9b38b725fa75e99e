"""Joins predictions to labels by frame number and counts them: `affcli score` between reading and printing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, UsageError, counted, listed
from affcli.labels.matching import matching_rows
from affcli.labels.reader import VideoLabels, class_numbers
from affcli.predictions.frame_table import faces, largest
from affcli.predictions.logit_table import LogitTable, VideoRows
from affcli.predictions.naming import Naming
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.scoring.metrics import Counts, Tally, confusion

# Aff-Wild2's label files have up to two lines more than their video has frames (302 of 317 have none to two).
TRAILING_LABELS: Final = 2
NO_PREDICTION: Final = NOT_ANNOTATED

_log = logging.getLogger(__name__)

Numbers = NDArray[np.int8]
Predictor = Callable[[VideoRows], Numbers]


@dataclass(frozen=True)
class Rules:
    """Which frames count, and which column names the prediction."""

    faces_only: bool = False
    allow_missing: bool = False
    label_column: str | None = None


@dataclass(frozen=True, eq=False)
class Matched:
    """One video's labelled frames that have a prediction: `truth` and `predicted` are int8 [m], class numbers.

    `row` int64 [m] is where in `rows` each prediction stands; `named` bool [m] is false where the table's label is null
    for want of confidence; `missing` are the labelled frames without a prediction.
    """

    video: str
    truth: Numbers
    predicted: Numbers
    row: NDArray[np.int64]
    rows: VideoRows
    named: NDArray[np.bool_]
    missing: NDArray[np.int64]


def tally(table: LogitTable, labels: Mapping[str, VideoLabels], rules: Rules) -> Tally:
    """Counts every labelled frame of every video by its true and its predicted class; see `matched` for errors."""
    matrices: dict[str, Counts] = {}
    named = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    labelled = 0
    for found in matched(table, labels, rules):
        labelled += found.truth.size + found.missing.size
        if found.truth.size:
            matrices[found.video] = confusion(found.truth, found.predicted)
            named += confusion(found.truth[found.named], found.predicted[found.named])
    return Tally(tuple(matrices), np.stack(list(matrices.values())), labelled, named, table=table.name)


def matched(
    table: LogitTable, labels: Mapping[str, VideoLabels], rules: Rules, predict: Predictor | None = None
) -> Iterator[Matched]:
    """Joins labels and predictions by frame number, a video at a time, in codepoint order of the videos.

    `predict` is what `guesser` chooses where none is given.
    Raises AffcliError where a labelled frame has no prediction (unless `rules.allow_missing`; at the end, to name all
    of them), where a frame has two, where the classes are not the eight, and where nothing is left to score.
    """
    predict = predict or guesser(table, rules.label_column)
    label = rules.label_column or ("label" if states_confidence(table) else None)
    if rules.faces_only and "face" not in table.carried_schema.names:
        raise AffcliError(f"{table.name} has no column 'face', so --faces-only cannot tell which frames have one.")
    _note_unlabelled(table, labels)
    gaps: dict[str, NDArray[np.int64]] = {}
    frames = 0
    for video in sorted(labels):
        found = _match(_rows_of(table, video), labels[video].labels, predict, rules, table.name, label)
        frames += found.truth.size
        if found.missing.size:
            gaps[video] = found.missing
        yield found
    if gaps and not rules.allow_missing:
        raise _gaps_error(gaps, table.name)
    if not frames:
        raise AffcliError(f"{table.name}: no labelled frame has a prediction; do the videos in labels and table agree?")


def _rows_of(table: LogitTable, video: str) -> VideoRows:
    if video in table:
        return table.rows(video)
    logits = np.empty((0, len(table.classes)), np.float32)
    return VideoRows(video, np.empty(0, np.int64), logits, table.carried_schema.empty_table())


def _match(
    rows: VideoRows, labels: Numbers, predict: Predictor, rules: Rules, source: str, label: str | None
) -> Matched:
    """`label` is the column that is null in unsure rows, where the table has one."""
    predicted = predict(rows)
    named = np.ones(len(predicted), bool) if label is None else rows.carried[label].is_valid().to_numpy()
    wanted = _labelled_frames(labels)
    row = matching_rows(wanted, rows.frame, trailing=TRAILING_LABELS)
    if rules.faces_only:
        # Its row tells whether a frame has a face, also without a prediction; a frame without a row counts as missing.
        counts = (row < 0) | np.append(faces(rows, source), False)[row]
        wanted, row = wanted[counts], row[counts]
    covered = np.append(predicted, NO_PREDICTION)[row] != NO_PREDICTION
    row = row[covered]
    return Matched(rows.video, labels[wanted[covered] - 1], predicted[row], row, rows, named[row], wanted[~covered])


def _labelled_frames(labels: Numbers) -> NDArray[np.int64]:
    return np.flatnonzero(labels != NOT_ANNOTATED) + 1


# --- which column is the prediction ----------------------------------------------------------------------------------


def predictor(table: LogitTable, label_column: str | None) -> Predictor:
    """What gives the predicted class number of each of a video's rows, -1 where there is none.

    A column that was named counts; in tables of ours `label`; elsewhere the logits, since a `label` there is often the
    truth, unless it never contradicts them: then it only says which of equal logits was chosen, as in a table of ours
    that went through CSV. A table without logits has only its `label`.
    """
    if table.spans:
        raise AffcliError(f"{table.name} has a row a span (start, end), not a row a frame. Run affcli vote first.")
    others = table.carried_schema.names
    if label_column is not None and label_column not in others:
        raise AffcliError(f"{table.name} has no column '{label_column}' beside its logits. Correct --label-column.")
    if label_column is None and "label" in others and (table.ours or not table.has_logits):
        label_column = "label"
    if label_column is not None:
        return _by_label(label_column, table.name)
    if "label" in others:
        if _labels_agree(table):
            return _by_label("label", table.name)
        _log.warning("%s: its logits count, not its column 'label'; --label-column label would take that.", table.name)
    return by_logits(table)


def guesser(table: LogitTable, label_column: str | None) -> Predictor:
    """As `predictor`, but a row whose label is null for want of confidence gets the class with the largest logit."""
    named = predictor(table, label_column)
    if label_column is not None or not states_confidence(table):
        return named
    guess = by_logits(table)

    def predict(rows: VideoRows) -> Numbers:
        own = named(rows)
        return np.where(own == NO_PREDICTION, guess(rows), own)

    return predict


def states_confidence(table: LogitTable) -> bool:
    """Whether the table is one of ours whose labels are null where they are unsure."""
    has_both = table.has_logits and "label" in table.carried_schema.names
    return table.ours and has_both and Naming.of(table.metadata) is not None


def _labels_agree(table: LogitTable) -> bool:
    """Whether the label is among the largest logits of its row in all rows of all videos; reads the table once."""
    _require_the_eight(table)
    return all(map(_agrees, table.videos()))


def _agrees(rows: VideoRows) -> bool:
    """Whether each row's label is one of its largest logits, and null where there are none."""
    try:
        label = class_numbers(rows.carried["label"], "label")
    except AffcliError:  # something else than classes, which the logits do without
        return False
    _, present = largest(rows.logits)
    own = np.take_along_axis(rows.logits, np.maximum(label, 0)[:, None].astype(np.intp), axis=1)[:, 0]
    named = np.where(label == NO_PREDICTION, np.nan, own)
    return np.array_equal(named, np.where(present, np.fmax.reduce(rows.logits, axis=1), np.nan), equal_nan=True)


def _by_label(column: str, source: str) -> Predictor:
    def predict(rows: VideoRows) -> Numbers:
        refuse_duplicates(rows, source)
        return class_numbers(rows.carried[column], f"{source}: column '{column}'")

    return predict


def by_logits(table: LogitTable) -> Predictor:
    """The class with the largest logit, the first of equals; raises unless the logits are those of the eight."""
    _require_the_eight(table)

    def predict(rows: VideoRows) -> Numbers:
        refuse_duplicates(rows, table.name)
        winners, present = largest(rows.logits)
        return np.where(present, winners, NO_PREDICTION).astype(np.int8)

    return predict


def _require_the_eight(table: LogitTable) -> None:
    if table.classes == CLASSES:
        return
    if not table.has_logits:
        raise AffcliError(f"{table.name} has labels but no logits. Name the columns of logits with --classes.")
    lacking = [name for name in CLASSES if name not in table.classes]
    foreign = [name for name in table.classes if name not in CLASSES]
    found = f"lacks {listed(lacking)}" if lacking else "has more than the eight classes"
    found += f" and has {listed(foreign)}" if foreign else ""
    example = f"{foreign[0]}={lacking[0] if lacking else 'Other'}" if foreign else "NAME=CLASS"
    raise UsageError(
        f"{table.name} {found} (columns taken as logits: {listed(table.classes, limit=12)}). "
        f"Rename with --map {example}, or name the eight with --classes."
    )


def refuse_duplicates(rows: VideoRows, source: str) -> None:
    """Raises AffcliError where a frame has more than one row; `source` is for the message."""
    twice = np.flatnonzero(rows.frame[1:] == rows.frame[:-1])
    if twice.size:
        raise AffcliError(
            f"{source}: video '{rows.video}' has several rows for frame {rows.frame[twice[0]]}. "
            "Average them first: affcli vote."
        )


# --- what is missing -------------------------------------------------------------------------------------------------


def _note_unlabelled(table: LogitTable, labels: Mapping[str, VideoLabels]) -> None:
    ignored = [video for video in table.ids if video not in labels]
    if ignored:
        _log.warning("%s: %s without labels ignored: %s.", table.name, counted(len(ignored), "video"), listed(ignored))


def _gaps_error(gaps: Mapping[str, NDArray[np.int64]], source: str) -> AffcliError:
    named = listed([f"{video} ({_described(frames)})" for video, frames in gaps.items()], limit=5)
    videos = counted(len(gaps), "video")
    return AffcliError(
        f"{source}: labelled frames without a prediction in {videos}: {named}. Score the others with --allow-missing."
    )


def _described(frames: NDArray[np.int64]) -> str:
    return f"frame {frames[0]}" if frames.size == 1 else f"{frames.size} frames from {frames[0]}"
