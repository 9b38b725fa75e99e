"""Inputs → a stream of events for an encoder: an input opens, its frames follow with their faces, it closes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.files.inputs import MediaInput, digest, find_inputs
from affcli.media.drawings import Drawings
from affcli.media.faces import LONG_SIDE, TEMPLATE_SIZE, FaceDetector
from affcli.media.failures import failure_of
from affcli.media.person_tracking import Rule
from affcli.media.sightings import Bookmark, Fit, SeenFrame, Watcher, take_pictures, times_from, watch_faces
from affcli.media.sound_beside import SoundsBeside
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.media.video import open_frame_times, open_pictures, open_video
from affcli.schema import base_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """The frames of an input follow, about so many as `expected` says; None where nothing tells."""

    item: MediaInput
    expected: int | None = None


@dataclass(frozen=True)
class Closed:
    """An input is done: `failure` says why it gives no rows, `problem` why it may lack some.

    `starts_s` is the time at which players show what has `time_s` 0.
    """

    item: MediaInput
    problem: str | None = None
    failure: str | None = None
    starts_s: float = 0.0


Event = Opened | SeenFrame | Closed


def _counting_turned(path: Path, frames: Iterator[SeenFrame]) -> Iterator[SeenFrame]:
    """The frames as they are; afterwards a note on faces that were found turned, or could not be."""
    looked = found = lost = 0
    for frame in frames:
        looked += frame.looked
        found += frame.turn != 0
        lost += frame.doubtful
        yield frame
    if found:
        log.info("%s: in %d of %d frames the face was found by turning the picture.", path, found, looked)
    if lost:
        text = "%s: in %d of %d frames a face seems to lie and could not be brought upright; it is left out."
        log.warning(text, path, lost, looked)


@dataclass(frozen=True)
class FolderTimes:
    """Presentation times [n] of the frames that a folder's pictures were cut from, and when players show time 0."""

    times_s: NDArray[np.float64]
    starts_s: float


@dataclass(frozen=True)
class PictureTimes:
    """When the numbered pictures of a folder are shown: by a frame rate, or by the videos they were cut from.

    A folder alone cannot tell its rate, nor frames without a face at its end.
    """

    fps: float | None = None
    videos: str | None = None

    @cached_property
    def _by_name(self) -> Mapping[str, Path]:
        if self.videos is None:
            return {}
        return {item.video: item.path for item in find_inputs([self.videos], pictures=False)}

    def of(self, folder: MediaInput, choice: TrackChoice = FILES_OWN) -> FolderTimes | None:
        """The times of the folder's video; None where no videos were given."""
        if self.videos is None:
            return None
        with open_frame_times(self._video_of(folder), choice=choice) as times:
            return FolderTimes(np.fromiter(times, np.float64), times.starts_s)

    def beside(self, item: MediaInput) -> bytes:
        """What an item's rows depend on besides its own content: the video that a folder was cut from."""
        if self.videos is None or item.kind == "file":
            return b""
        return digest(MediaInput(item.video, self._video_of(item), "file")).encode()

    def _video_of(self, folder: MediaInput) -> Path:
        name = folder.path.resolve().name
        path = next((self._by_name[n] for n in (name, *base_names(name)) if n in self._by_name), None)
        if path is None:
            raise AffcliError(f"{folder.path}: --videos {self.videos} has no video named {name}.")
        return path

    @property
    def facts(self) -> dict[str, Any]:
        """What a table's metadata says of it (no path)."""
        return {"fps": self.fps, "times": "of the videos" if self.videos else "of the frames"}


@dataclass(frozen=True)
class Show:
    """Shows one input after the other: files through the face detector, folders of pictures as they are."""

    fit: Fit
    input_size: int
    rule: Rule
    every: int
    times: PictureTimes = field(default_factory=PictureTimes)
    scales: tuple[float, ...] = (1.0,)  # of the crops, ascending; a feature is the mean over them
    mirrored: bool = False  # over their mirror images too
    drawings: Drawings | None = None
    threads: int = 1  # of the detector, 0 for all cores: the faces are the same, to the bit
    choice: TrackChoice = FILES_OWN
    on_gpu: bool = False  # the detector too, where onnxruntime can
    beside: SoundsBeside | None = None  # where the sound of short clips goes, if it will be heard

    @cached_property
    def _faces(self) -> Watcher:
        detector = FaceDetector(threads=self.threads, on_gpu=self.on_gpu)
        return watch_faces(detector, self.rule, self.input_size, every=self.every, **self._views)

    @cached_property
    def _pictures(self) -> Watcher:
        return take_pictures(self.fit, every=self.every, **self._views)

    @property
    def _views(self) -> dict[str, Any]:
        return {"scales": self.scales, "mirrored": self.mirrored}

    def _watching(self, watcher: Watcher, item: MediaInput) -> Watcher:
        return watcher if self.drawings is None else self.drawings.of(item.video, watcher)

    def alignment(self, inputs: Sequence[MediaInput]) -> dict[str, Any]:
        """How faces come to the encoder, for the table's metadata and the model's card."""
        searched = any(item.kind == "file" for item in inputs)
        template = f"arcface-{TEMPLATE_SIZE}" if searched else "pictures as they are"
        scales = {} if self.scales == (1.0,) else {"crop_scales": list(self.scales)}
        mirrored = {"mirrored": True} if self.mirrored else {}
        return {"template": template, "size": self.input_size, **scales, **mirrored}

    def __call__(self, item: MediaInput, after: Bookmark | None = None) -> Iterator[Event]:
        """The events of one input; with a bookmark only the frames that come after it."""
        try:
            yield from self._pictures_of(item, after) if item.kind == "pictures" else self._video_of(item, after)
        except Exception as error:
            yield Closed(item, failure=failure_of(item.path, error))

    def _video_of(self, item: MediaInput, after: Bookmark | None) -> Iterator[Event]:
        with open_video(
            item.path,
            after=after.frame if after else 0,
            reduced_to=LONG_SIDE,
            choice=self.choice,
            beside=self.beside,
        ) as frames:
            yield Opened(item, frames.expected)
            yield from _counting_turned(item.path, self._watching(self._faces, item)(frames, after))
            yield Closed(item, frames.problem, starts_s=frames.starts_s)

    def _pictures_of(self, item: MediaInput, after: Bookmark | None) -> Iterator[Event]:
        times = self.times.of(item, self.choice)
        with open_pictures(item.path, fps=self.times.fps) as frames:
            yield Opened(item, frames.expected)
            timed = frames if times is None else times_from(frames, times.times_s)
            # All are read again, which costs little, since those that cannot be read are named at the end.
            later = islice(timed, after.frame if after else 0, None)
            yield from self._watching(self._pictures, item)(later, after)
            yield Closed(item, frames.problem, starts_s=0.0 if times is None else times.starts_s)
