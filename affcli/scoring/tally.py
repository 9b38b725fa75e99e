"""Joins predictions to labels by frame number and counts them: `affcli score` between reading and printing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, ColumnError, counted, listed
from affcli.labels.matching import matching_rows
from affcli.labels.reader import VideoLabels, words_in
from affcli.predictions.columns import ColumnNames
from affcli.predictions.frame_table import faces
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.video_rows import VideoRows
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.scoring.metrics import Tally, confusion
from affcli.scoring.predictor import NO_PREDICTION, Numbers, Predictor, eight_of, guesser, states_confidence
from affcli.tables.derived import stem_of_id
from affcli.tables.given import Source

# Aff-Wild2's label files have up to two lines more than their video has frames (302 of 317 have none to two).
TRAILING_LABELS: Final = 2

_log = logging.getLogger(__name__)


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


def tally_of(source: Source, columns: ColumnNames, labels: Mapping[str, VideoLabels], rules: Rules) -> Tally:
    """As `tally`, of a table that is opened for it: `columns` says what its columns mean."""
    named = rules.label_column is not None
    columns = replace(columns, label=rules.label_column or columns.label, label_named=named, words=words_in(labels))
    with LogitTable(source, columns=columns, carry={"face", columns.label}, labels_suffice=True) as table:
        counted = tally(table, labels, rules)
        if not named:
            table.note_missing()
    return counted


def tally(table: LogitTable, labels: Mapping[str, VideoLabels], rules: Rules) -> Tally:
    """Counts every labelled frame of every video by its true and its predicted class; see `matched` for errors."""
    videos: list[str] = []
    confusions = np.empty((len(labels), len(CLASSES), len(CLASSES)), np.int64)
    named = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    labelled = 0
    for found in matched(table, labels, rules):
        labelled += found.truth.size + found.missing.size
        if found.truth.size:
            matrix = confusion(found.truth, found.predicted)
            confusions[len(videos)] = matrix
            videos.append(found.video)
            every = found.named.all()
            named += matrix if every else confusion(found.truth[found.named], found.predicted[found.named])
    known = tuple(name for name in CLASSES if name in eight_of(table.known_classes)) or CLASSES
    return Tally(tuple(videos), confusions[: len(videos)], labelled, named, table=table.name, known=known)


def matched(
    table: LogitTable, labels: Mapping[str, VideoLabels], rules: Rules, predict: Predictor | None = None
) -> Iterator[Matched]:
    """Joins labels and predictions by frame number, a video at a time, in codepoint order of the videos.

    `predict` is what `guesser` chooses where none is given.
    Raises AffcliError where a labelled frame has no prediction (unless `rules.allow_missing`; at the end, to name all
    of them), where a frame has two, where a class is none of the eight, and where nothing is left to score.
    """
    predict = predict or guesser(table, rules.label_column)
    label = rules.label_column or ("label" if states_confidence(table) else None)
    if rules.faces_only and "face" not in table.carried_schema.names:
        raise ColumnError(f"{table.name} has no column 'face', so --faces-only cannot tell which frames have one.")
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
    own = np.append(predicted, NO_PREDICTION)[row]
    covered = own != NO_PREDICTION
    if covered.all():
        return Matched(rows.video, labels[wanted - 1], own, row, rows, named[row], wanted[:0])
    row = row[covered]
    return Matched(rows.video, labels[wanted[covered] - 1], own[covered], row, rows, named[row], wanted[~covered])


def _labelled_frames(labels: Numbers) -> NDArray[np.int64]:
    return np.flatnonzero(labels != NOT_ANNOTATED) + 1


# --- what is missing -------------------------------------------------------------------------------------------------


def _note_unlabelled(table: LogitTable, labels: Mapping[str, VideoLabels]) -> None:
    ignored = [video for video in table.ids if video not in labels]
    if ignored:
        hint = _other_spelling(ignored, [video for video in labels if video not in table])
        _log.warning(
            "%s: %s without labels ignored: %s.%s",
            table.name, counted(len(ignored), "video"), listed(ignored), hint,
        )  # fmt: skip


def _other_spelling(ignored: Sequence[str], unmatched: Sequence[str]) -> str:
    """What to do where videos would have labels if ids were stems, or why they have none."""
    stems, cases = ({way(video) for video in unmatched} for way in (stem_of_id, str.casefold))
    if any(stem_of_id(video) in stems for video in ignored):
        return " They are labelled under ids with another folder or suffix: add --video-stem."
    if any(video.casefold() in cases for video in ignored):
        return " They are labelled under ids that differ in upper and lower case: correct those."
    return ""


def _gaps_error(gaps: Mapping[str, NDArray[np.int64]], source: str) -> AffcliError:
    named = listed([f"{video} ({_described(frames)})" for video, frames in gaps.items()], limit=5)
    videos = counted(len(gaps), "video")
    return AffcliError(
        f"{source}: labelled frames without a prediction in {videos}: {named}. Score the others with --allow-missing."
    )


def _described(frames: NDArray[np.int64]) -> str:
    return f"frame {frames[0]}" if frames.size == 1 else f"{frames.size} frames from {frames[0]}"
