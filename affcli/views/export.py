"""Frame predictions in other forms: Aff-Wild2's label texts, ABAW submissions, segments as a table or in a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.errors import AffcliError, UsageError, counted, listed
from affcli.files.outputs import write_folder
from affcli.labels.reader import VideoLabels
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.space import as_probabilities
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.scoring.predictor import class_numbers_of, guesser, predictor
from affcli.tables.abaw_submission import HEADER, Locations
from affcli.tables.keys import refuse_far_frames
from affcli.views.labelled_video import LabelledTable, LabelledVideo, require_times
from affcli.views.segments import Segments, confidences, segments_of

# For a listed video without any prediction; a video with at least one has a nearest frame to take the class from.
FALLBACK: Final = CLASSES.index("Neutral")

_log = logging.getLogger(__name__)

Numbers = NDArray[np.int8]


def predicted_labels(
    table: LogitTable, label_column: str | None = None, *, guess: bool = False
) -> dict[str, VideoLabels]:
    """Every video's predictions in the form of labels, as long as its last row's frame; -1 where there is none.

    With `guess`, a frame that is unsure gets the class with the largest logit.
    """
    predict = (guesser if guess else predictor)(table, label_column)
    found = {}
    for rows in table.videos():
        refuse_far_frames(table.name, rows.video, len(rows.frame), int(rows.frame[-1]))
        labels = np.full(rows.frame[-1], NOT_ANNOTATED, np.int8)
        labels[rows.frame - 1] = predict(rows)
        found[rows.video] = VideoLabels(rows.video, labels)
    return found


def confident_labels(table: LogitTable, label_column: str | None, *, min_confidence: float) -> dict[str, VideoLabels]:
    """As `predicted_labels`, without labels whose probability is below `min_confidence`, and without the videos that
    keep none: pseudo-labels to train on. Says how many are kept. Raises AffcliError for a table without logits.
    """
    if not table.has_logits:
        raise AffcliError(f"{table.name}: has labels but no logits, so no confidence. Leave out --min-confidence.")
    predict, number_of = predictor(table, label_column), class_numbers_of(table)
    found, every = {}, 0
    for rows in table.videos():
        refuse_far_frames(table.name, rows.video, len(rows.frame), int(rows.frame[-1]))
        predicted = predict(rows)
        probabilities = np.zeros((len(predicted), len(CLASSES) + 1))  # the last for no label
        probabilities[:, number_of] = np.nan_to_num(as_probabilities(rows.logits, table.space))
        sure = probabilities[np.arange(len(predicted)), predicted] >= min_confidence
        kept = (predicted != NOT_ANNOTATED) & sure
        every += len(predicted)
        if kept.any():
            labels = np.full(rows.frame[-1], NOT_ANNOTATED, np.int8)
            labels[rows.frame[kept] - 1] = predicted[kept]
            found[rows.video] = VideoLabels(rows.video, labels)
    _note_kept(table, found, every, min_confidence)
    return found


def _note_kept(table: LogitTable, found: Mapping[str, VideoLabels], every: int, min_confidence: float) -> None:
    count = sum(int((one.labels != NOT_ANNOTATED).sum()) for one in found.values())
    if not count:
        raise AffcliError(f"{table.name}: no frame has a label with a probability of at least {min_confidence:g}.")
    left_out = len(table.ids) - len(found)
    without = f"; {counted(left_out, 'video')} without any left out" if left_out else ""
    _log.warning("%s: kept the labels of %s of %s%s", table.name, f"{count:,}", counted(every, "frame"), without)


# --- submissions -----------------------------------------------------------------------------------------------------


def all_locations(predictions: Mapping[str, VideoLabels]) -> Locations:
    """`<video>/00001.jpg` for every frame from the first to the last of every video."""
    sizes = [one.labels.size for one in predictions.values()]
    video = pa.array(list(predictions), pa.string()).take(pa.array(np.repeat(np.arange(len(sizes)), sizes)))
    frame = np.concatenate([np.arange(1, size + 1) for size in sizes])
    digits = pc.utf8_lpad(pa.array(frame).cast(pa.string()), width=5, padding="0")
    text = pc.binary_join_element_wise(pc.binary_join_element_wise(video, digits, "/"), "jpg", ".")
    return Locations(text, video, frame)


@dataclass(frozen=True)
class Filled:
    """Class numbers int8 [n] for a list of frames, and how many of them had to be filled, and how."""

    numbers: Numbers
    nearest: int
    neutral: int
    unknown_videos: tuple[str, ...]


def fill(locations: Locations, predictions: Mapping[str, VideoLabels]) -> Filled:
    """A class for every listed frame: its own, else that of the nearest labelled frame of the video, else Neutral.

    Of two frames equally near the earlier counts.
    """
    encoded = locations.video.dictionary_encode()
    code = encoded.indices.to_numpy()
    names = encoded.dictionary.to_pylist()
    numbers = np.full(code.size, FALLBACK, np.int8)
    nearest, unknown = 0, []
    order = np.argsort(code, kind="stable")
    for name, rows in zip(names, np.split(order, np.cumsum(np.bincount(code))[:-1]), strict=True):
        known = np.flatnonzero(predictions[name].labels != NOT_ANNOTATED) if name in predictions else np.empty(0, int)
        if not known.size:
            unknown.append((name, rows.size))
            continue
        at = _nearest(locations.frame[rows] - 1, known)
        numbers[rows] = predictions[name].labels[at]
        nearest += int((at != locations.frame[rows] - 1).sum())
    return Filled(numbers, nearest, sum(size for _, size in unknown), tuple(name for name, _ in unknown))


def _nearest(wanted: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """The member of `known` (ascending, not empty) that is nearest to each of `wanted`, the smaller of two."""
    after = np.minimum(np.searchsorted(known, wanted), known.size - 1)
    before = np.maximum(after - 1, 0)
    return np.where(wanted - known[before] <= np.abs(known[after] - wanted), known[before], known[after])


def submission_text(locations: Locations, predictions: Mapping[str, VideoLabels]) -> str:
    """The submission for these frames, in their order; says in a note how many had to be filled, and how."""
    filled = fill(locations, predictions)
    _note_filled(filled, len(locations.text))
    odd = locations.text.filter(pc.match_substring_regex(locations.text, "[\\r\\n,]"))
    if len(odd):
        raise AffcliError(f"{odd[0].as_py()!r} cannot stand in a submission, whose fields end at a comma or line end.")
    digits = pa.array([str(number) for number in range(len(CLASSES))]).take(pa.array(filled.numbers))
    lines = pc.binary_join_element_wise(locations.text, digits, ",")
    return "\n".join([HEADER, *lines.to_pylist(), ""])


def _note_filled(filled: Filled, frames: int) -> None:
    if filled.nearest:
        share = f"{filled.nearest:,} of {counted(frames, 'frame')}"
        _log.warning("%s had no prediction and got that of the nearest frame.", share)
    if filled.neutral:
        videos = listed(filled.unknown_videos)
        _log.warning(
            "%s of videos without any prediction became Neutral: %s.", counted(filled.neutral, "frame"), videos
        )


# --- label texts -----------------------------------------------------------------------------------------------------


def label_text(labels: Numbers) -> str:
    """An Aff-Wild2 label file: the class names, then a class number a frame."""
    return "\n".join([",".join(CLASSES), *map(str, labels.tolist()), ""])


def write_label_folder(folder: str, predictions: Mapping[str, VideoLabels], *, force: bool = False) -> None:
    """One `VIDEO.txt` a video. The folder appears only when complete; with `force`, files in it are replaced."""
    nested = [video for video in predictions if Path(video).name != video]
    if nested:
        raise AffcliError(
            f"video '{nested[0]}': label files lie in one folder, so no name may hold one. Use --to abaw."
        )
    files = ((f"{video}.txt", label_text(one.labels)) for video, one in predictions.items())
    write_folder(folder, files, force=force)


# --- segments --------------------------------------------------------------------------------------------------------

SEGMENTS: Final = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),  # frames, both included, as in the spans that `vote` reads
        pa.field("end", pa.int32(), nullable=False),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("label", pa.string(), nullable=False),
        pa.field("confidence", pa.float32()),  # mean probability of the label
    ]
)


def segmented(table: LabelledTable, min_seconds: float) -> Iterator[tuple[LabelledVideo, Segments]]:
    """Each video and its segments. Raises AffcliError for a table without rows, or without the times that it takes."""
    for video in table.videos():
        if min_seconds > 0:
            require_times(video, table.name)
        yield video, segments_of(video, min_seconds=min_seconds)
    if not table.ids:
        raise AffcliError(f"{table.name}: has no rows, so there is nothing to export.")


def segment_rows(video: LabelledVideo, segments: Segments) -> pa.Table:
    """A row a segment, under SEGMENTS; times are null where the video has none."""
    empty = pa.nulls(len(segments), pa.float64())
    columns = {
        "video": pa.repeat(pa.scalar(video.video), len(segments)),
        "start": pa.array(video.frame[segments.first].astype(np.int32)),
        "end": pa.array(video.frame[segments.last].astype(np.int32)),
        "start_s": empty if video.start_s is None else pa.array(np.round(video.start_s[segments.first], 6)),
        "end_s": empty if video.end_s is None else pa.array(np.round(video.end_s[segments.last], 6)),
        "label": pa.array(list(video.classes), pa.string()).take(pa.array(segments.label)),
        "confidence": pa.array(confidences(video, segments).astype(np.float32), from_pandas=True),
    }
    return pa.table(columns, schema=SEGMENTS)


Text = Callable[[LabelledVideo, Segments, str], str]


def file_a_video(table: LabelledTable, text: Text, suffix: str, min_seconds: float) -> Iterator[tuple[str, str]]:
    """`VIDEO.suffix` and its content for each video."""
    for video, segments in segmented(table, min_seconds):
        yield f"{video.video}{suffix}", text(video, segments, table.name)


def only_file(table: LabelledTable, text: Text, suffix: str, min_seconds: float) -> str:
    """The content for a table of one video; raises UsageError for one of several, which needs a folder."""
    if len(table.ids) > 1:
        raise UsageError(
            f"{table.name}: has {len(table.ids):,} videos, and {suffix} is a file a video: name a folder, -o DIR."
        )
    return next(content for _, content in file_a_video(table, text, suffix, min_seconds))
