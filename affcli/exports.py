"""Frame predictions in the forms that Aff-Wild2 and the ABAW challenge use: label texts and submissions."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.annotations import VideoLabels
from affcli.errors import AffcliError, counted, listed
from affcli.logits import LogitTable
from affcli.outputs import temporary_name, write_bytes
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.scoring import predictor
from affcli.submissions import HEADER, Locations

# For a listed video without any prediction; a video with at least one has a nearest frame to take the class from.
FALLBACK: Final = CLASSES.index("Neutral")

_log = logging.getLogger(__name__)

Numbers = NDArray[np.int8]


def predicted_labels(table: LogitTable, label_column: str | None = None) -> dict[str, VideoLabels]:
    """Every video's predictions in the form of labels, as long as its last row's frame; -1 where there is none."""
    predict = predictor(table, label_column)
    found = {}
    for rows in table.videos():
        labels = np.full(rows.frame[-1], NOT_ANNOTATED, np.int8)
        labels[rows.frame - 1] = predict(rows)
        found[rows.video] = VideoLabels(rows.video, labels)
    return found


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
    path = Path(folder)
    _check_label_folder(path, predictions, force=force)
    if path.is_dir():
        for name, text in _label_files(predictions):
            write_bytes(path / name, text.encode())
        return
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        for name, text in _label_files(predictions):
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _label_files(predictions: Mapping[str, VideoLabels]) -> Iterator[tuple[str, str]]:
    return ((f"{video}.txt", label_text(one.labels)) for video, one in predictions.items())


def _check_label_folder(path: Path, predictions: Mapping[str, VideoLabels], *, force: bool) -> None:
    nested = [video for video in predictions if Path(video).name != video]
    if nested:
        raise AffcliError(
            f"video '{nested[0]}': label files lie in one folder, so no name may hold one. Use --to abaw."
        )
    if path.exists() and not path.is_dir():
        raise AffcliError(f"{path}: is a file; --to labels writes a folder.")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise AffcliError(f"{path}: holds files already. Replace those of the same names with --force.")
    if not path.parent.is_dir():
        raise AffcliError(f"{path}: the folder {path.parent} does not exist.")
