"""A video and its frame table → the video with what was found drawn in: decode, draw, encode, a frame at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import AffcliError, PartialError, UsageError, counted, listed
from affcli.files.outputs import create_temporary
from affcli.media.video import Frame, open_video
from affcli.schema import BOX_COLUMNS, base_names
from affcli.tables.by_video import RowsByVideo
from affcli.tables.reader import TableReader
from affcli.views.labelled_video import LabelledTable, LabelledVideo
from affcli.views.overlay.encoder import FORMAT_OF_SUFFIX, Encoder
from affcli.views.overlay.painter import Found, Painter

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Person:
    """One person's rows: `row_of[n]` int64 is the row of frame n, -1 where it has none (0 is no frame)."""

    name: str
    found: LabelledVideo
    row_of: NDArray[np.int64]

    def at(self, frame: int) -> Found | None:
        """What is known of a frame; None where it has no row."""
        row = int(self.row_of[frame]) if frame < len(self.row_of) else -1
        if row < 0:
            return None
        video = self.found
        box = None if video.box is None or np.isnan(video.box[row]).any() else tuple(video.box[row].tolist())
        return Found(
            self.name,
            int(video.label[row]),
            None if video.probability is None else video.probability[row],
            box,
            None if video.face is None else bool(video.face[row]),
        )


def people_in(table: LabelledTable, path: Path, named: str | None, faces: str | None) -> list[Person]:
    """Everybody whom the table knows in a video: `clip`, `clip_left`, `clip#1`; `named` is the video's id, if given.

    `faces` is a visual feature table that has their boxes, where the frame table has none.
    """
    ids = videos_of(table.ids, named or path.stem)
    if not ids:
        raise AffcliError(
            f"{table.name}: has no video '{named or path.stem}' (videos: {listed(table.ids)}). Name one with --video."
        )
    boxes = {} if faces is None else _read_boxes(faces, ids)
    return [_person(table.video(video), boxes.get(video), several=len(ids) > 1) for video in ids]


def videos_of(ids: Sequence[str], name: str) -> list[str]:
    """The ids that stand for a video: its own, or those of the people in it; else those that end so (`s1/clip`).

    Raises UsageError where several videos do.
    """
    own = [video for video in ids if name in (video, *base_names(video))]
    if own:
        return own
    recordings: dict[str, list[str]] = {}
    for video in ids:
        for base in (video, *base_names(video)):
            if PurePosixPath(base).name == name:
                recordings.setdefault(str(PurePosixPath(base)), []).append(video)
    if len(recordings) > 1:
        raise UsageError(f"the table has several videos '{name}': {listed(sorted(recordings))}. Name one with --video.")
    return next(iter(recordings.values()), [])


def _person(video: LabelledVideo, boxes: pa.Table | None, *, several: bool) -> Person:
    row_of = np.full(int(video.frame[-1]) + 1, -1)
    row_of[video.frame] = np.arange(len(video.frame))
    if boxes is not None:
        video = replace(video, box=_boxes_of(boxes, video.frame))
    bases = base_names(video.video)
    name = video.video.removeprefix(bases[0]).lstrip("_") if several and bases else ""
    return Person(name, video, row_of)


def _read_boxes(faces: str, ids: Sequence[str]) -> Mapping[str, pa.Table]:
    with TableReader(faces, text=("video",)) as table:
        table.require("video", "frame", *BOX_COLUMNS)
        rows = RowsByVideo(table, "video", ["frame", *BOX_COLUMNS])
        found = {video: rows.rows(video) for video in ids if video in rows}
        if not found:
            raise AffcliError(f"{table.name}: has no video '{ids[0]}' (videos: {listed(rows.ids)}).")
        return found


def _boxes_of(boxes: pa.Table, frame: NDArray[np.int64]) -> NDArray[np.float64]:
    """The boxes [n, 4] of some frames, NaN where there is none."""
    numbers = boxes["frame"].to_numpy()
    sides = np.stack([boxes[name].cast(pa.float64()).to_numpy() for name in BOX_COLUMNS], axis=1)
    by_frame = np.full((max(int(numbers.max()), int(frame.max())) + 1, 4), np.nan)
    by_frame[numbers] = sides
    found: NDArray[np.float64] = by_frame[frame]
    return found


def check_output(output: str) -> str:
    """The suffix of a video that can be written; raises UsageError for another."""
    suffix = Path(output).suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        raise UsageError(f"{output}: write one of {listed(list(FORMAT_OF_SUFFIX))}.")
    return suffix


def overlay(path: Path, people: Sequence[Person], output: str) -> Iterator[int]:
    """Writes the video; yields each frame's number when it is drawn.

    The output has the source's frames, size, times and sound, and appears when it is complete. Raises MediaError for
    what cannot be decoded or encoded, and PartialError (the output is there) where the source was decoded only in part.
    """
    suffix = check_output(output)
    number = 0
    with open_video(path) as frames:
        first = next(frames)
        assert first.pixels is not None
        assert frames.clock is not None
        size = first.pixels.shape[:2]
        painter = Painter(people[0].found.classes, size)
        temporary, held = create_temporary(Path(output))
        try:
            encoder = Encoder(path, temporary, suffix, size, frames.clock)
            try:
                for number in _drawn(painter, people, first, frames, encoder):
                    yield number
                encoder.finish()
            finally:
                encoder.close()
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)
            held.close()
        _note_difference(path, people, number)
        if frames.problem is not None:
            raise PartialError(f"{path}: {frames.problem}; {output} holds the {counted(number, 'frame')} before that.")


def _drawn(
    painter: Painter, people: Sequence[Person], first: Frame, frames: Iterator[Frame], encoder: Encoder
) -> Iterator[int]:
    frame: Frame | None = first
    while frame is not None:
        assert frame.pixels is not None
        assert frame.time_s is not None
        pixels = _fitted(frame.pixels, first.pixels)
        painter.paint(pixels, [found for found in (person.at(frame.number) for person in people) if found is not None])
        encoder.write(pixels, frame.time_s)
        yield frame.number
        frame = next(frames, None)


def _fitted(pixels: NDArray[np.uint8], like: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """The size of a video's pictures may change on the way; that of a file cannot."""
    assert like is not None
    if pixels.shape == like.shape:
        return pixels
    from PIL import Image

    return np.array(Image.fromarray(pixels).resize((like.shape[1], like.shape[0])))


def _note_difference(path: Path, people: Sequence[Person], frames: int) -> None:
    last = max(int(person.found.frame[-1]) for person in people)
    if last != frames:
        has = counted(frames, "frame")
        log.warning("%s has %s, and the table goes to frame %s: is it of this video?", path, has, f"{last:,}")
