"""Frames of a video, one after the other: number, presentation time, pixels. Nothing is held but the present frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, PictureError, listed
from affcli.files.inputs import numbered_pictures
from affcli.media.completeness import missing_frames
from affcli.media.decoder import Clock, Stamp
from affcli.media.ffmpeg import MediaError
from affcli.media.ffmpeg_log import Description, Track
from affcli.media.picture_outputs import ASPECT_ONE, ROWS, frame_outputs, shapes, time_outputs
from affcli.media.picture_track import NO_PICTURE, is_still, no_frames, open_picture_track, track_read
from affcli.media.pictures import open_picture
from affcli.media.sound_beside import MOST_PICTURE_BYTES, SoundsBeside
from affcli.media.track_choice import FILES_OWN, TrackChoice

Pixels = NDArray[np.uint8]

_DECIMALS: Final = 6  # the container's start is known to the microsecond


@dataclass(frozen=True)
class Frame:
    """One frame. `number` is 1-based; `pixels` uint8 [height, width, 3] RGB, None where a numbered picture is missing.

    `time_s` is the presentation time in seconds from the container's start, None where nothing tells it. `reduced` is
    the same picture made smaller, in square pixels, where that was asked for; `pixel_aspect` is the width of a pixel of
    `pixels` over its height, as the file wants it shown.
    """

    number: int
    time_s: float | None
    pixels: Pixels | None
    reduced: Pixels | None = None
    pixel_aspect: float = 1.0


class VideoFrames(ABC):
    """An iterator over a video's frames, and a context manager: leaving it frees the decoder at once.

    `problem` is set after the last frame: in one line why there may be fewer frames than there should be, or None.
    `clock` says how the times of a media file were counted; None for pictures.
    """

    clock: Clock | None = None
    starts_s = 0.0  # when players show what has `time_s` 0
    description: Description | None = None  # what a media file says it holds
    track: Track | None = None  # which of its tracks is shown

    def __init__(self) -> None:
        self.problem: str | None = None
        self._frames = self._produce()

    @property
    def expected(self) -> int | None:
        """About how many frames there are; None where nothing tells before they are decoded."""
        return None if self.description is None else self.description.frames_expected

    @abstractmethod
    def _produce(self) -> Iterator[Frame]:
        """Yields the frames and sets `problem` after the last."""

    def close(self) -> None:
        """Ends what still runs; no more frames come."""
        self._frames = iter(())

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_video(
    path: Path,
    *,
    after: int = 0,
    reduced_to: int | None = None,
    choice: TrackChoice = FILES_OWN,
    beside: SoundsBeside | None = None,
) -> VideoFrames:
    """The frames of a media file, upright (a rotation that the file asks for is applied), in order of presentation.

    With `reduced_to`, each comes also in square pixels, its longer side reduced to so many, by averaging: ffmpeg does
    that on its way from the decoder, for less than a third of what it costs here. The frames up to number `after` are
    decoded too, since no container can be trusted to seek exactly, but their pixels are not moved; there may be none
    after them. `beside` keeps the sound of a short clip, which then comes with the same start of ffmpeg. Raises
    MediaError, with one reason, where not a single frame can be decoded.
    """
    with_sound = None if beside is None else _with_sound(path, after, reduced_to, choice, beside)
    return with_sound or _DecodedFrames(path, after, reduced_to, choice)


def open_pictures(folder: Path, *, fps: float | None = None) -> VideoFrames:
    """The frames of a folder of numbered pictures: from 1 to the highest number, `pixels` None where one is missing.

    `time_s` is (number − 1) / fps, None without `fps`. Pictures that cannot be read are frames without pixels and are
    named in `problem`. Raises AffcliError for a folder without numbered pictures.
    """
    return _PictureFrames(folder, fps)


def read_frame_times(path: Path, *, choice: TrackChoice = FILES_OWN) -> NDArray[np.float64]:
    """Presentation times [n], in seconds from the container's start, of exactly the frames that `open_video` gives.

    Everything is decoded, but no pixels are moved. Raises MediaError where not a single frame can be decoded.
    """
    with open_frame_times(path, choice=choice) as times:
        return np.fromiter(times, np.float64)


def open_frame_times(path: Path, *, choice: TrackChoice = FILES_OWN) -> FrameTimes:
    """The same one after the other, while ffmpeg goes on decoding."""
    return FrameTimes(path, choice)


def frame_centres(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle of each frame [n]: its time plus half the interval to the next; the last takes the interval before it.

    A single frame has no interval: its centre is its time.
    """
    times_s = np.asarray(times_s, dtype=np.float64)
    if len(times_s) < 2:
        return np.array(times_s)
    intervals = np.diff(times_s)
    return np.asarray(times_s + np.append(intervals, intervals[-1]) / 2, dtype=np.float64)


class _DecodedFrames(VideoFrames):
    def __init__(
        self,
        path: Path,
        after: int,
        reduced_to: int | None,
        choice: TrackChoice,
        sound: tuple[Sequence[str], ...] = (),
    ) -> None:
        self._path, self._after = path, after
        self._decoder = open_picture_track(path, choice, partial(frame_outputs, reduced_to, sound))
        self._known: dict[int, Fraction] = {}
        self._count = 0
        super().__init__()
        try:
            self._ahead = list(islice(self._frames, 2))  # now, so that a file without frames fails here
            if not self._ahead and not after:
                raise no_frames(path, self._decoder)
            if self._count == 1 and choice.video is None and is_still(path, self._decoder.description):
                raise MediaError(path, NO_PICTURE)
        except BaseException:
            self.close()
            raise
        self.clock, self.description = self._decoder.clock, self._decoder.description
        self.track = track_read(self._decoder)
        self.starts_s = starts_s(self.description)

    def _produce(self) -> Iterator[Frame]:
        for stamp in self._decoder.stamps():
            cut, height, aspect, *reduced = stamp.sizes
            shape_of = shapes(cut // ROWS, height, *reduced)
            pictures = [_read(pipe, shape) for pipe, shape in zip(self._decoder.data, shape_of, strict=True)]
            if any(picture is None for picture in pictures):
                break
            self._count += 1
            self._note_shown(stamp)
            if self._count > self._after:
                yield Frame(
                    self._count,
                    _seconds(stamp),
                    pictures[0],
                    pictures[1] if len(pictures) > 1 else None,
                    float(self._pixel_aspect(aspect)),
                )
        self.problem = self._decoder.finish() or self._missing()

    def _note_shown(self, stamp: Stamp) -> None:
        if self._decoder.packets is not None:
            clock = self._decoder.clock
            self._decoder.packets.came_out(stamp.time_s + clock.start_s, clock.tick_s)

    def _pixel_aspect(self, size: int) -> Fraction:
        """The exact one of the stream, where its strip is that long; else the simplest fraction near the strip's."""
        if size not in self._known:
            stated = self._decoder.clock.pixel_aspect
            same = round(stated * ASPECT_ONE) == size
            self._known[size] = stated if same else Fraction(size, ASPECT_ONE).limit_denominator(128)
        return self._known[size]

    def _missing(self) -> str | None:
        return missing_frames(self._path, self._decoder, self._count)

    def __next__(self) -> Frame:
        # The frames that were read ahead go out first; none is read before it is asked for.
        return self._ahead.pop(0) if self._ahead else super().__next__()

    def hold(self, most_bytes: int) -> bool:
        """Reads all frames ahead; whether there is nothing wrong with them, and they are not larger."""
        left = most_bytes
        for frame in self._frames:
            self._ahead.append(frame)
            left -= 0 if frame.pixels is None else frame.pixels.nbytes
            if left < 0:
                return False
        return self.problem is None

    def keep(self, beside: SoundsBeside) -> bool:
        """Gives the sound that came with the frames to be heard later; whether there is nothing wrong with it."""
        return beside.keep(self._decoder)

    def close(self) -> None:
        super().close()
        self._ahead = []
        self._decoder.close()


def _with_sound(
    path: Path, after: int, reduced_to: int | None, choice: TrackChoice, beside: SoundsBeside
) -> VideoFrames | None:
    """The frames of a tiny clip, all decoded, whose sound `beside` has now; None where anything is unusual."""
    if not (sound := beside.outputs(path, choice)):
        return None
    with suppress(MediaError), ExitStack() as unless_good:
        frames = _DecodedFrames(path, after, reduced_to, choice, sound)
        unless_good.callback(frames.close)
        if frames.hold(MOST_PICTURE_BYTES) and frames.keep(beside):
            unless_good.pop_all()
            return frames
    return None


class FrameTimes:
    """An iterator over the presentation times of a video's frames, and a context manager as `VideoFrames` is."""

    def __init__(self, path: Path, choice: TrackChoice = FILES_OWN) -> None:
        self._decoder = open_picture_track(path, choice, time_outputs)
        self._times: Iterator[float] = self._produce()
        try:
            self._ahead = list(islice(self._times, 2))  # now, so that a file without frames fails here
            if not self._ahead:
                raise no_frames(path, self._decoder)
            if len(self._ahead) == 1 and choice.video is None and is_still(path, self._decoder.description):
                raise MediaError(path, NO_PICTURE)
        except BaseException:
            self.close()
            raise
        self.starts_s = starts_s(self._decoder.description)

    def _produce(self) -> Iterator[float]:
        for stamp in self._decoder.stamps():
            yield _seconds(stamp)
        self._decoder.finish()

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        return self._ahead.pop(0) if self._ahead else next(self._times)

    def stop(self) -> None:
        """Ends the decoder, from any thread; the times end with those that have come."""
        self._decoder.stop()

    def close(self) -> None:
        """Ends what still runs; no more times come."""
        self._ahead, self._times = [], iter(())
        self._decoder.close()

    def __enter__(self) -> FrameTimes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _PictureFrames(VideoFrames):
    def __init__(self, folder: Path, fps: float | None) -> None:
        self._pictures = numbered_pictures(folder)
        if not self._pictures:
            raise AffcliError(f"{folder}: no numbered pictures (00001.jpg, …) in this folder")
        self._fps = fps
        super().__init__()

    @property
    def expected(self) -> int:
        """As many as the highest number."""
        return max(self._pictures)

    def _produce(self) -> Iterator[Frame]:
        bad: list[str] = []
        for number in range(1, max(self._pictures) + 1):
            path = self._pictures.get(number)
            pixels = None
            if path is not None:
                try:
                    pixels = open_picture(path)
                except (PictureError, OSError) as error:
                    reason = error.strerror if isinstance(error, OSError) else error
                    bad.append(f"{path.name} ({reason})")
            yield Frame(number, (number - 1) / self._fps if self._fps else None, pixels)
        if bad:
            self.problem = f"not readable as pictures: {listed(bad)}"


def starts_s(found: Description) -> float:
    """The time at which players show what has `time_s` 0: the container's start, where players do not move it to 0."""
    return float(max(found.start_s, Fraction(0))) if found.counts_from_zero else 0.0


def _seconds(stamp: Stamp) -> float:
    return round(float(stamp.time_s), _DECIMALS) + 0.0  # no -0.0, to which what is a little below 0 is rounded


def _read(stream: BinaryIO, shape: tuple[int, int]) -> Pixels | None:
    """One raw picture of a height and width; None at the end of the stream, also in the middle of a picture."""
    pixels = np.empty((*shape, 3), dtype=np.uint8)
    return pixels if _read_into(stream, pixels.data.cast("B")) else None


def _read_into(stream: BinaryIO, buffer: memoryview) -> bool:
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not count:
            return False
        filled += count
    return True
