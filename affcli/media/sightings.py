"""What an encoder is shown of a video: for each frame the faces that are followed, as crops of the encoder's size."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from affcli.media.faces import Face, FaceDetector, align
from affcli.media.person_tracking import Follower, Memory, Rule
from affcli.media.turned import NOT_SEARCHED, Search, find_faces
from affcli.media.video import Frame

Pixels = NDArray[np.uint8]
Fit = Callable[[Image.Image], Pixels]  # a picture of any size → uint8 [S, S, 3], as the encoder wants it
Item = TypeVar("Item")

_ASSUMED_FPS: Final = 25.0  # for following faces in frames without a time
_ROWS_APART: Final = 16


@dataclass(frozen=True)
class Sighting:
    """A person in one frame: the crops to encode, and the detected face; None in pictures that are crops already."""

    crops: Pixels  # uint8 [views, S, S, 3] RGB, the smallest scale first, mirrored ones after all others
    face: Face | None


@dataclass(frozen=True)
class Bookmark:
    """Where looking at a video can be taken up again: after frame number `frame`, with the persons followed so far."""

    frame: int
    memory: Memory | None = None  # None for pictures, in which nobody is followed
    search: Search = NOT_SEARCHED

    def as_json(self) -> dict[str, Any]:
        """The bookmark as plain JSON values."""
        memory = self.memory and self.memory.as_json()
        return {"frame": self.frame, "memory": memory, "search": self.search.as_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Bookmark:
        """The bookmark that `as_json` gave."""
        memory = stored["memory"] and Memory.from_json(stored["memory"])
        return cls(stored["frame"], memory, Search.from_json(stored["search"]))


@dataclass(frozen=True)
class SeenFrame:
    """One frame and who is in it, by number of the person. `looked` is False for frames passed over (`--every`).

    After a frame that was looked at, `bookmark` says how to go on from there. `turn` is by how many degrees the picture
    was turned to find the faces; `doubtful` says that a face was left out that lies and is not found by turning.
    """

    number: int
    time_s: float | None
    sightings: Mapping[int, Sighting] = field(default_factory=dict)
    looked: bool = True
    bookmark: Bookmark | None = None
    turn: int = 0
    doubtful: bool = False


class Watcher(Protocol):
    """Turns a video's frames, all or those after a bookmark, into seen frames, a frame for a frame."""

    def __call__(self, frames: Iterator[Frame], after: Bookmark | None = None) -> Iterator[SeenFrame]:
        """The faces of each frame; `after` continues from a bookmark."""
        ...


def watch_faces(
    detector: FaceDetector,
    rule: Rule,
    size: int,
    *,
    every: int = 1,
    scales: Sequence[float] = (1.0,),
    mirrored: bool = False,
) -> Watcher:
    """Detects, follows and aligns faces; looks at every Nth frame and at the last. A crop of scale 1.2 shows 1.2 times
    as much around the face as the template does. Crops are cut from the frame's own pixels, not from the reduced ones:
    the encoder has use for all of them unless the face is larger than its crop.

    In a frame whose pixels are those of the frame before, bit for bit, the faces are taken for found already, and whose
    sighting was the same person's has the same `Sighting` again (not an equal one).
    """

    def crops(frame: Frame, face: Face) -> Pixels:
        assert frame.pixels is not None
        cut = partial(align, frame.pixels, face.landmarks, size, pixel_aspect=frame.pixel_aspect)
        return _views([cut(zoom=1 / scale) for scale in scales], mirrored=mirrored)

    def watch(frames: Iterator[Frame], after: Bookmark | None = None) -> Iterator[SeenFrame]:
        follower = Follower.remembering(rule, after.memory) if after and after.memory else Follower(rule)
        last = _Looked(search=after.search if after else NOT_SEARCHED)
        for frame, looked in _every(frames, every):
            if not looked or frame.pixels is None:
                yield SeenFrame(frame.number, frame.time_s, looked=looked)
                continue
            if last.frame is None or not same_pixels(frame.pixels, last.frame.pixels):
                found = find_faces(detector, frame.pixels, frame.reduced, frame.number, last.search)
                last = _Looked(frame, found.faces, found.search, found.turn, found.doubtful)
            time_s = frame.time_s if frame.time_s is not None else (frame.number - 1) / _ASSUMED_FPS
            followed = follower.follow(last.faces, time_s)
            seen = {number: last.sighting(face, crops) for number, face in followed.items()}
            bookmark = Bookmark(frame.number, follower.memory(), last.search)
            yield SeenFrame(frame.number, frame.time_s, seen, bookmark=bookmark, turn=last.turn, doubtful=last.doubtful)

    return watch


@dataclass(frozen=True)
class _Looked:
    """The frame looked at last, the faces found in it and how, and the sightings made of them, by the identity of the
    face."""

    frame: Frame | None = None
    faces: Sequence[Face] = ()
    search: Search = NOT_SEARCHED
    turn: int = 0
    doubtful: bool = False
    _sightings: dict[int, Sighting] = field(default_factory=dict)

    def sighting(self, face: Face, crops: Callable[[Frame, Face], Pixels]) -> Sighting:
        assert self.frame is not None
        if id(face) not in self._sightings:
            self._sightings[id(face)] = Sighting(crops(self.frame, face), face)
        return self._sightings[id(face)]


def same_pixels(one: Pixels, other: Pixels | None) -> bool:
    """Whether two pictures are one, bit for bit. Of pictures that differ, a few rows tell it mostly."""
    if other is None or one.shape != other.shape:
        return False
    return np.array_equal(one[::_ROWS_APART], other[::_ROWS_APART]) and np.array_equal(one, other)


def _views(crops: Sequence[Pixels], *, mirrored: bool) -> Pixels:
    """Crops as one array; with `mirrored`, each is followed, after all others, by its mirror image."""
    views = np.stack(crops)
    return np.concatenate([views, views[:, :, ::-1]]) if mirrored else views


def take_pictures(fit: Fit, *, every: int = 1, scales: Sequence[float] = (1.0,), mirrored: bool = False) -> Watcher:
    """Pictures that are aligned faces already: each is resized as the encoder asks (`fit`), none is searched.

    A crop of scale 0.9 is 0.9 of the picture from its middle; there is nothing to show for scales above 1. A picture
    that is the one before has the same `Sighting`.
    """

    def watch(frames: Iterator[Frame], after: Bookmark | None = None) -> Iterator[SeenFrame]:
        last: tuple[Pixels, Sighting] | None = None
        for frame, looked in _every(frames, every):
            if not looked or frame.pixels is None:
                yield SeenFrame(frame.number, frame.time_s, looked=looked)
                continue
            if last is None or not same_pixels(frame.pixels, last[0]):
                picture = Image.fromarray(frame.pixels)
                crops = _views([fit(_middle(picture, scale)) for scale in scales], mirrored=mirrored)
                last = frame.pixels, Sighting(crops, None)
            yield SeenFrame(frame.number, frame.time_s, {1: last[1]}, bookmark=Bookmark(frame.number))

    return watch


def _middle(picture: Image.Image, scale: float) -> Image.Image:
    """The middle of a picture: `scale` times as wide and as high, in whole pixels."""
    width, height = (max(1, round(side * scale)) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _every(frames: Iterator[Frame], every: int) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether to look at it: frames 1, 1 + N, 1 + 2N, … and the last, so that ends are known."""
    waiting: Frame | None = None
    for frame in frames:
        if waiting is not None:
            yield waiting, False
            waiting = None
        if (frame.number - 1) % every == 0:
            yield frame, True
        else:
            waiting = frame
    if waiting is not None:
        yield waiting, True


def in_background(produce: Callable[[], Iterator[Item]], *, ahead: int) -> Generator[Item]:
    """The items of a generator that runs in a thread of its own, at most `ahead` items before they are asked for.

    An exception in the thread is raised here. When the reader leaves early, the thread ends at its next item.
    """
    items: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(ahead)
    left = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> bool:
        while not left.is_set():
            try:
                items.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        produced = produce()
        try:
            for item in produced:
                if not put(item, None):
                    break
            else:
                put(None, None)
        except BaseException as error:  # handed over whole: it is raised where the items are read
            put(None, error)
        finally:
            close = getattr(produced, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=run, name="affcli-decoder", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        left.set()
        thread.join()


def times_from(folder: Iterator[Frame], times_s: NDArray[np.float64]) -> Iterator[Frame]:
    """A folder's frames with the times of its video; frames at the video's end that have no picture are included."""
    number = 0
    for frame in folder:
        number = frame.number
        time_s = float(times_s[number - 1]) if number <= len(times_s) else None
        yield Frame(number, time_s, frame.pixels)
    for later in range(number + 1, len(times_s) + 1):
        yield Frame(later, float(times_s[later - 1]), None)
