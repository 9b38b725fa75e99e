"""Inputs → a stream of events for an encoder of sound: an input opens, its pieces follow with its frames, it closes.

Everything is decoded ahead of what is asked for, the picture's frame times beside the sound.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affcli.files.inputs import MediaInput
from affcli.media.audio import PIECE_S, SoundPieces, open_sound
from affcli.media.failures import failure_of
from affcli.media.sound_beside import SoundsBeside
from affcli.media.sound_placing import SoundPiece
from affcli.media.track_choice import FILES_OWN, TrackChoice
from affcli.media.video import frame_centres, open_frame_times

Floats = NDArray[np.float64]


class Frames(Protocol):
    """The frames of one video that get a row, counted from 0."""

    def times_s(self, start: int, stop: int) -> Floats:
        """Presentation times in seconds of the frames from `start` up to `stop`."""
        ...

    def centres_s(self, start: int, stop: int) -> Floats:
        """Centres in seconds of the frames from `start` up to `stop`."""
        ...

    def centre_from_s(self, frame: int) -> float:
        """The frame's centre, or a time that it is not before, or infinity where there is no such frame."""
        ...

    def before(self, time_s: float) -> int:
        """How many frames are known to have their centre before a time up to which there is sound."""
        ...

    def total(self, sound_end_s: float) -> int:
        """Number of frames, once the sound is known to end at a time."""
        ...

    def add(self, more: MoreFrames) -> None:
        """Takes in what has become known of them."""
        ...


@dataclass(frozen=True)
class MoreFrames:
    """The presentation times [n] of the frames after those known before; `complete` if they are the last."""

    times_s: Floats
    complete: bool


NO_MORE = MoreFrames(np.empty(0), complete=True)


class ShownFrames:
    """The frames of a picture, by their presentation times [n]; sound before and after them has no rows."""

    def __init__(self, times_s: Floats, *, complete: bool = True) -> None:
        self._times_s, self._complete = np.empty(0), False
        self.add(MoreFrames(times_s, complete))

    def add(self, more: MoreFrames) -> None:
        """Takes in what has become known of them."""
        self._times_s, self._complete = np.append(self._times_s, more.times_s), more.complete
        centres_s = frame_centres(self._times_s)
        self._centres_s = (
            centres_s if self._complete else centres_s[:-1]
        )  # the next frame's time is wanted for a centre

    def times_s(self, start: int, stop: int) -> Floats:
        """Presentation times in seconds of the frames from `start` up to `stop`."""
        return self._times_s[start:stop]

    def centres_s(self, start: int, stop: int) -> Floats:
        """Centres in seconds of the frames from `start` up to `stop`."""
        return self._centres_s[start:stop]

    def centre_from_s(self, frame: int) -> float:
        """The frame's centre, or a time that it is not before; infinity past the last frame."""
        if frame < len(self._centres_s):
            return float(self._centres_s[frame])
        if self._complete:
            return np.inf
        return float(self._times_s[-1]) if len(self._times_s) else -np.inf

    def before(self, time_s: float) -> int:
        """Number of frames known to have their centre before a time."""
        return int(np.searchsorted(self._centres_s, time_s))

    def total(self, sound_end_s: float) -> int:
        """Number of frames; the sound's end does not count."""
        return len(self._times_s)


@dataclass(frozen=True)
class RegularFrames:
    """Frames of sound without a picture: round(duration · fps) of them, centres at (frame − ½) / fps."""

    fps: float

    def add(self, more: MoreFrames) -> None:
        """There is nothing to know."""

    def times_s(self, start: int, stop: int) -> Floats:
        """Presentation times in seconds, (frame − 1) / fps, of the frames from `start` up to `stop`."""
        return np.arange(start, stop, dtype=np.float64) / self.fps

    def centres_s(self, start: int, stop: int) -> Floats:
        """Centres in seconds, (frame − ½) / fps, of the frames from `start` up to `stop`."""
        return (np.arange(start, stop, dtype=np.float64) + 0.5) / self.fps

    def centre_from_s(self, frame: int) -> float:
        """The frame's centre in seconds."""
        return (frame + 0.5) / self.fps

    def before(self, time_s: float) -> int:
        """Number of frames with their centre before a time."""
        return int(np.ceil(max(0.0, time_s * self.fps - 0.5)))  # also of -inf, while nothing is known

    def total(self, sound_end_s: float) -> int:
        """round(duration · fps) frames."""
        return round(sound_end_s * self.fps)


class FrameReader:
    """Reads the frame times of a file in a thread, as fast as they can be decoded; a context manager.

    The first `known` of them are passed over. Raises MediaError where there is no frame.
    """

    def __init__(self, item: MediaInput, known: int, choice: TrackChoice = FILES_OWN) -> None:
        self._reader = open_frame_times(item.path, choice=choice)
        self._times_s, self._taken = array("d"), known
        self._complete = False
        self._error: BaseException | None = None
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="affcli-times", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for time_s in self._reader:
                with self._more:
                    self._times_s.append(time_s)
                    self._more.notify()
        except BaseException as error:  # handed over whole: it is raised where the times are taken
            self._error = error
        with self._more:
            self._complete = True
            self._more.notify()

    def take(self, past_s: float) -> MoreFrames:
        """The frames not taken yet; waits until one is known that is later than a time, or all are known."""
        with self._more:
            self._more.wait_for(lambda: self._complete or bool(self._times_s and self._times_s[-1] > past_s))
            if self._error is not None:
                raise self._error
            more = MoreFrames(np.array(self._times_s[self._taken :]), self._complete)
            self._taken = max(self._taken, len(self._times_s))
            return more

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.stop()
        self._thread.join()
        self._reader.close()


class Source(Protocol):
    """Whoever knows the frames of inputs."""

    def open(
        self, item: MediaInput, known: MoreFrames, *, has_picture: bool = True
    ) -> tuple[Frames, AbstractContextManager[FrameReader | None]]:
        """The item's frames, as far as they are known, and the reader that will tell the others.

        `has_picture` False: it is known that the item has no picture track, so that none is looked for.
        """
        ...


@dataclass(frozen=True)
class GivenFrames:
    """Frames that somebody knows already: a Source."""

    frames: Frames

    def open(
        self, item: MediaInput, known: MoreFrames, *, has_picture: bool = True
    ) -> tuple[Frames, AbstractContextManager[None]]:
        """The frames that were given, whatever the input."""
        return self.frames, nullcontext()


@dataclass(frozen=True)
class Opened:
    """The pieces of an input follow; `frames` are as far as they were known before, `expected` about how many there
    will be, None where nothing tells.
    """

    item: MediaInput
    frames: Frames
    expected: int | None = None


@dataclass(frozen=True)
class Heard:
    """A piece of sound, which is the last that ends at `end_s`, and the frames that have become known meanwhile."""

    piece: SoundPiece
    end_s: float
    more: MoreFrames


@dataclass(frozen=True)
class Closed:
    """An input is done: `failure` says why it gives no rows, `problem` why it may lack some.

    `starts_s` is the time at which players show what has `time_s` 0.
    """

    item: MediaInput
    more: MoreFrames = NO_MORE
    end_s: float = 0.0
    problem: str | None = None
    failure: str | None = None
    starts_s: float = 0.0


Event = Opened | Heard | Closed


@dataclass(frozen=True)
class Hear:
    """Gives the sound of one input after the other, at the encoder's rate and in pieces that it can take."""

    source: Source
    sample_rate_hz: int
    choice: TrackChoice = FILES_OWN
    piece_s: int = PIECE_S
    beside: SoundsBeside | None = None

    def __call__(self, item: MediaInput, known: MoreFrames) -> Iterator[Event]:
        """The events of one input, some of whose frames may be known."""
        try:
            yield from self._pieces_of(item, known)
        except Exception as error:
            yield Closed(item, failure=failure_of(item.path, error))

    def _pieces_of(self, item: MediaInput, known: MoreFrames) -> Iterator[Event]:
        how = {"sample_rate_hz": self.sample_rate_hz, "piece_s": self.piece_s}
        with open_sound(item.path, **how, choice=self.choice, beside=self.beside) as sound:
            frames, opened = self.source.open(item, known, has_picture=sound.has_picture)
            with opened as reader:
                take: Callable[[float], MoreFrames] = reader.take if reader else (lambda past_s: NO_MORE)
                yield Opened(item, frames, _expected(frames, sound))
                for piece in sound:
                    yield Heard(piece, sound.end_s, take(sound.end_s))
                yield Closed(item, take(np.inf), sound.end_s, sound.problem, starts_s=sound.starts_s)


def _expected(frames: Frames, sound: SoundPieces) -> int | None:
    """At a regular rate as many as the sound's stated length holds; those of a picture as the file states."""
    if isinstance(frames, RegularFrames):
        return None if sound.stated_s is None else frames.total(sound.stated_s)
    return sound.pictures_expected
