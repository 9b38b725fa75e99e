"""Videos → rows of a visual feature table. Decoding and detection run ahead in a thread while batches are encoded.

Batches run across the borders of videos, so that many short clips are encoded as fast as one long film.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import counted
from affcli.files.inputs import MediaInput
from affcli.jobs.job import Ended
from affcli.jobs.parts import Parts
from affcli.jobs.progress import Progress
from affcli.jobs.stream_part import PartWriter
from affcli.media.showing import Closed, Event
from affcli.media.sightings import Bookmark, SeenFrame, Sighting, in_background
from affcli.models.encoders.visual_encoder import Encoded, VisualEncoder
from affcli.models.extract.event_loop import EventLoop
from affcli.models.extract.face_batches import encoded
from affcli.schema import BOX_COLUMNS, visual_schema

Shower = Callable[[MediaInput, Bookmark | None], Iterator[Event]]
About = NDArray[np.float32]  # [5]: score, box_x, box_y, box_w, box_h

_AHEAD: Final = 64  # frames decoded before they are encoded
_ROWS_AT_ONCE: Final = 512


def extract(
    encoder: VisualEncoder,
    show: Shower,
    items: Iterable[MediaInput],
    parts: Parts,
    *,
    stream: str,
    tracks: bool,
    progress: Progress,
) -> Generator[Ended]:
    """Encodes the faces that `show` finds in each input, leaves the rows in its parts, and tells of it as it ends.

    `tracks` gives each person rows of their own under `NAME#1`, `NAME#2`, …; `progress` is told of frames.
    """
    schema = visual_schema(encoder.card.size, encoder.classes)
    loop = EventLoop(
        parts, "faces", stream, schema, lambda opened, part: _Video(opened.item, part, schema, tracks=tracks)
    )
    events = in_background(lambda: loop.open_all(items, partial(_shown, show)), ahead=_AHEAD)
    in_order = encoded(events, encoder)
    try:
        yield from loop.make_rows(in_order, progress)
    finally:
        in_order.close()
        events.close()


def _shown(show: Shower, item: MediaInput, states: Sequence[Any]) -> Iterator[Event]:
    """What is shown of an input, from where its rows end that were made before."""
    return show(item, Bookmark.from_json(states[-1]["bookmark"]) if states else None)


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One frame of one person."""

    number: int
    time_s: float | None
    looked: bool
    face: Encoded | None = None
    about: About | None = None


class _Video:
    """The rows of one input. Every frame has a row for each person, also before they were first seen."""

    def __init__(self, item: MediaInput, part: PartWriter, schema: pa.Schema, *, tracks: bool) -> None:
        self.item, self.part, self._schema, self._tracks = item, part, schema, tracks
        self._times_s = array("d")  # of all frames so far, NaN where unknown
        self._kept = 0  # frames
        self._persons: dict[int, _Rows] = {}
        self._looked = self._with_face = 0  # frames, in this run
        if part.states:
            self._go_on()
        elif not tracks:
            self._begin(1)

    def add(self, frame: SeenFrame, faces: dict[int, Encoded]) -> int:
        """A frame, with the faces in it."""
        for person in sorted(frame.sightings):
            if person not in self._persons:
                self._begin(person)
        self._looked += frame.looked
        self._with_face += bool(frame.sightings)
        self._times_s.append(np.nan if frame.time_s is None else frame.time_s)
        empty = _Row(frame.number, frame.time_s, frame.looked)
        for person, rows in self._persons.items():
            sighting = frame.sightings.get(person)
            seen = sighting and replace(empty, face=faces[person], about=_about(sighting))
            rows.add(seen or empty)
        if frame.bookmark is not None and self.part.due:
            self._keep(frame.bookmark)
        return 1

    def finish(self, closed: Closed) -> int:
        """The rows that wait for a frame to come."""
        if not self._persons:
            self._begin(1)  # nobody was seen: the frames still have their rows
        for rows in self._persons.values():
            rows.finish()
        return 0

    def told(self) -> str:
        """Frames, and how many of those that were looked at show a face."""
        persons = f", {counted(len(self._persons), 'person')}" if self._tracks else ""
        return f"{counted(len(self._times_s), 'frame')}, a face in {self._with_face:,} of {self._looked:,}{persons}"

    def _begin(self, person: int) -> None:
        self._rows_of(person).begin_after(np.array(self._times_s))

    def _rows_of(self, person: int) -> _Rows:
        self._persons[person] = _Rows(self._name(person), self._schema, self.part)
        return self._persons[person]

    def _name(self, person: int) -> str:
        return f"{self.item.video}#{person}" if self._tracks else self.item.video

    def _keep(self, bookmark: Bookmark) -> None:
        """All rows so far are kept. The frame was looked at, so none is still to be interpolated."""
        for rows in self._persons.values():
            rows.write()
        times_s = self._times_s[self._kept :].tolist()
        self._kept = len(self._times_s)
        self.part.keep({"bookmark": bookmark.as_json(), "persons": list(self._persons), "times_s": times_s})

    def _go_on(self) -> None:
        """Everything as it was after the last `_keep`."""
        last_rows = self.part.last_rows()
        for state in self.part.states:
            self._times_s.extend(state["times_s"])
        self._kept = len(self._times_s)
        for person in self.part.states[-1]["persons"]:
            self._rows_of(person).go_on_after(last_rows[self._name(person)])


class _Rows:
    """The rows of one person, written a few hundred at a time; frames passed over (`--every`) are interpolated."""

    def __init__(self, video: str, schema: pa.Schema, part: PartWriter) -> None:
        self._video, self._schema, self._part = video, schema, part
        self._size = schema.field("feature").type.list_size
        self._classes = schema.names[schema.get_field_index("feature") + 1 :]
        self._last: _Row | None = None  # the last frame that was looked at
        self._passed: list[_Row] = []  # frames passed over since then
        self._rows: list[_Row] = []

    def add(self, row: _Row) -> None:
        if not row.looked:
            self._passed.append(row)
            return
        if self._last is not None:
            self._rows.extend(_between(self._last, passed, row) for passed in self._passed)
        self._passed.clear()
        self._rows.append(row)
        self._last = row
        if len(self._rows) >= _ROWS_AT_ONCE:
            self.write()

    def finish(self) -> None:
        self._rows.extend(self._passed)
        self.write()

    def begin_after(self, times_s: NDArray[np.float64]) -> None:
        """Writes rows without a face for the frames [n] in which the person was not seen yet."""
        for start in range(0, len(times_s), _ROWS_AT_ONCE):
            some = times_s[start : start + _ROWS_AT_ONCE]
            known = [
                pa.repeat(pa.scalar(self._video, pa.string()), len(some)),
                pa.array(np.arange(start + 1, start + 1 + len(some), dtype=np.int32)),
                pa.array(some, mask=np.isnan(some)),
                pa.repeat(pa.scalar(False), len(some)),
            ]
            unknown = [pa.nulls(len(some), field.type) for field in list(self._schema)[len(known) :]]
            self._part.write(self._video, pa.Table.from_arrays([*known, *unknown], schema=self._schema))

    def go_on_after(self, row: pa.Table) -> None:
        """Takes the last row that was kept for the last frame that was looked at."""
        [stored] = row.to_pylist()
        about = [stored[name] for name in ("score", *BOX_COLUMNS)]
        self._last = _Row(
            stored["frame"],
            stored["time_s"],
            looked=True,
            face=None if stored["feature"] is None else self._stored(stored),
            about=None if about[0] is None else np.array(about, np.float32),
        )

    def _stored(self, row: dict[str, Any]) -> Encoded:
        logits = np.array([row[name] for name in self._classes], np.float32)
        return Encoded(np.array(row["feature"], np.float16), logits)

    def write(self) -> None:
        """Hands over the rows that wait."""
        if not self._rows:
            return
        faces = np.array([row.face is not None for row in self._rows])
        features = np.zeros((len(faces), self._size), np.float16)
        logits = np.zeros((len(faces), len(self._classes)), np.float32)
        about = np.zeros((len(faces), 5), np.float32)
        boxed = np.array([row.about is not None for row in self._rows])
        for index, row in enumerate(self._rows):
            if row.face is not None:
                features[index], logits[index] = row.face
            if row.about is not None:
                about[index] = row.about
        columns = [
            pa.repeat(pa.scalar(self._video, pa.string()), len(faces)),
            pa.array([row.number for row in self._rows], pa.int32()),
            pa.array([row.time_s for row in self._rows], pa.float64()),
            pa.array(faces),
            *(pa.array(np.ascontiguousarray(values), mask=~boxed) for values in about.T),
            pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), self._size, mask=pa.array(~faces)),
            *(pa.array(np.ascontiguousarray(values), mask=~faces) for values in logits.T),
        ]
        self._part.write(self._video, pa.Table.from_arrays(columns, schema=self._schema))
        self._rows.clear()


def _about(sighting: Sighting) -> About | None:
    return None if sighting.face is None else np.array([sighting.face.score, *sighting.face.box], np.float32)


def _between(before: _Row, passed: _Row, after: _Row) -> _Row:
    """A frame passed over: linear between the frames before and after it, by frame number, where both have a face."""
    if before.face is None or after.face is None:
        return passed
    share = (passed.number - before.number) / (after.number - before.number)
    feature = _mixed(before.face.feature, after.face.feature, share).astype(np.float16)
    face = Encoded(feature, _mixed(before.face.logits, after.face.logits, share))
    if before.about is None or after.about is None:
        return replace(passed, face=face)
    return replace(passed, face=face, about=_mixed(before.about, after.about, share))


def _mixed(one: NDArray[np.floating], other: NDArray[np.floating], share: float) -> About:
    return ((1 - share) * one.astype(np.float32) + share * other.astype(np.float32)).astype(np.float32)
