"""A video and its frame table → the video with what was found drawn in: decode, draw, encode, a frame at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import AffcliError, PartialError, UsageError, counted, listed
from affcli.files.outputs import create_temporary
from affcli.media.video import Frame, VideoFrames, open_video
from affcli.schema import BOX_COLUMNS, base_names
from affcli.tables.by_video import RowsByVideo
from affcli.tables.reader import TableReader
from affcli.views.labelled_video import LabelledTable, LabelledVideo
from affcli.views.overlay.encoder import Encoder, Source
from affcli.views.overlay.kept_tracks import FORMAT_OF_SUFFIX, kept_tracks
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

    The output has the source's frames, size and times, on the same clock, and its sound, and appears when it is
    complete. Raises MediaError for
    what cannot be decoded or encoded, and PartialError (the output is there) where the source was decoded only in part.
    """
    suffix = check_output(output)
    number = 0
    with open_video(path) as frames:
        first = next(frames)
        assert first.pixels is not None
        assert frames.clock is not None
        source = _source(path, frames, suffix)
        temporary, held = create_temporary(Path(output))
        try:
            encoder = Encoder(source, temporary, suffix, first.pixels.shape[:2])
            try:
                for number in _drawn(people, first, frames, encoder):
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


def _source(path: Path, frames: VideoFrames, suffix: str) -> Source:
    assert frames.clock is not None
    assert frames.description is not None
    assert frames.track is not None
    kept = kept_tracks(path, frames.description, frames.track, suffix)
    return Source(path, frames.clock, Fraction(frames.starts_s).limit_denominator(10**6), kept)


def _drawn(people: Sequence[Person], first: Frame, frames: Iterator[Frame], encoder: Encoder) -> Iterator[int]:
    """Draws into every frame in its own shape, and fits it into the shape of the first."""
    painter = lru_cache(maxsize=8)(partial(Painter, people[0].found.classes))
    frame: Frame | None = first
    while frame is not None:
        assert frame.pixels is not None
        assert frame.time_s is not None
        found = [one for one in (person.at(frame.number) for person in people) if one is not None]
        painter(frame.pixels.shape[:2]).paint(frame.pixels, found)
        encoder.write(_fitted(frame, first), frame.time_s)
        yield frame.number
        frame = next(frames, None)


def _fitted(frame: Frame, first: Frame) -> NDArray[np.uint8]:
    """A frame in the shape of the first: the shape of a video's frames may change on the way, that of a file cannot.

    What differs is made as large as it fits, its proportions kept, on black.
    """
    assert frame.pixels is not None
    assert first.pixels is not None
    if frame.pixels.shape == first.pixels.shape and frame.pixel_aspect == first.pixel_aspect:
        return frame.pixels
    from PIL import Image

    (height, width), (own_height, own_width) = first.pixels.shape[:2], frame.pixels.shape[:2]
    wide = own_width * frame.pixel_aspect / first.pixel_aspect
    scale = min(width / wide, height / own_height)
    size = min(width, max(1, round(wide * scale))), min(height, max(1, round(own_height * scale)))
    fitted = np.zeros_like(first.pixels)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    fitted[top : top + size[1], left : left + size[0]] = np.array(Image.fromarray(frame.pixels).resize(size))
    return fitted


def _note_difference(path: Path, people: Sequence[Person], frames: int) -> None:
    last = max(int(person.found.frame[-1]) for person in people)
    if last != frames:
        has = counted(frames, "frame")
        log.warning("%s has %s, and the table goes to frame %s: is it of this video?", path, has, f"{last:,}")
