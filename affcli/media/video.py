"""Frames of a video, one after the other: number, presentation time, pixels. Nothing is held but the present frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, PictureError, listed
from affcli.files.inputs import numbered_pictures
from affcli.media.ffmpeg import Clock, Decoder, MediaError, Stamp, why_unreadable
from affcli.media.pictures import open_picture
from affcli.media.track_choice import FILES_OWN, TrackChoice

Pixels = NDArray[np.uint8]

# The first video stream that is no cover picture; every frame that the decoder gives, none doubled, none dropped.
# Without `-enc_time_base demux` the stamps snap to the nominal frame rate.
_EVERY_FRAME: Final = ("-map", "0:V:0", "-fps_mode", "passthrough", "-enc_time_base", "demux")
# A PPM picture begins with its size, so frames are told apart without knowing anything about the stream.
_PIXELS: Final = (*_EVERY_FRAME, "-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe")
_TIMES: Final = (*_EVERY_FRAME, "-c:v", "wrapped_avframe")
NO_PICTURE: Final = "no video stream in this file, only sound"
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

    def __init__(self) -> None:
        self.problem: str | None = None
        self._frames = self._produce()

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
    path: Path, *, after: int = 0, reduced_to: int | None = None, choice: TrackChoice = FILES_OWN
) -> VideoFrames:
    """The frames of a media file, upright (a rotation that the file asks for is applied), in order of presentation.

    With `reduced_to`, each comes also in square pixels, its longer side reduced to so many, by averaging: ffmpeg does
    that on its way from the decoder, for less than a third of what it costs here. The frames up to number `after` are
    decoded too, since no container can be trusted to seek exactly, but their pixels are not moved; there may be none
    after them. Raises MediaError, with one reason, where not a single frame can be decoded.
    """
    return _DecodedFrames(path, after, reduced_to)


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
    return FrameTimes(path)


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
    def __init__(self, path: Path, after: int, reduced_to: int | None) -> None:
        later = [f"select='gte(n,{after})'"] if after else []
        filters = [later] if reduced_to is None else [later, [*later, _reduction(reduced_to)]]
        pictures = [(*_filtered(chain), *_PIXELS) for chain in filters]
        self._decoder = Decoder(path, pictures, (*_filtered(later), *_TIMES))
        self._after = after
        super().__init__()
        try:
            self._next = next(self._frames, None)  # now, so that a file without frames fails here
        except BaseException:
            self.close()
            raise
        if self._next is None and not after:
            raise _no_frames(path, self._decoder)
        self.clock = self._decoder.clock

    def _produce(self) -> Iterator[Frame]:
        for number, stamp in enumerate(self._decoder.stamps(), start=self._after + 1):
            pictures = [_read_ppm(pipe) for pipe in self._decoder.data]
            if any(picture is None for picture in pictures):
                break
            reduced = pictures[1] if len(pictures) > 1 else None
            yield Frame(number, _seconds(stamp), pictures[0], reduced, float(self._decoder.clock.pixel_aspect))
        self.problem = self._decoder.finish()

    def __next__(self) -> Frame:
        # The frame that was read ahead goes out first; none is read before it is asked for.
        if self._next is None:
            return super().__next__()
        frame, self._next = self._next, None
        return frame

    def close(self) -> None:
        super().close()
        self._next = None
        self._decoder.close()


class FrameTimes:
    """An iterator over the presentation times of a video's frames, and a context manager as `VideoFrames` is."""

    def __init__(self, path: Path) -> None:
        # No time depends on the filter that smooths blocks (a fifth of the work of decoding H.264).
        self._decoder = Decoder(path, (), _TIMES, decoding=("-skip_loop_filter", "all"))
        self._times = self._produce()
        try:
            self._next = next(self._times, None)  # now, so that a file without frames fails here
            if self._next is None:
                raise _no_frames(path, self._decoder)
        except BaseException:
            self.close()
            raise

    def _produce(self) -> Iterator[float]:
        for stamp in self._decoder.stamps():
            yield _seconds(stamp)
        self._decoder.finish()

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        if self._next is None:
            raise StopIteration
        time_s, self._next = self._next, next(self._times, None)
        return time_s

    def stop(self) -> None:
        """Ends the decoder, from any thread; the times end with those that have come."""
        self._decoder.stop()

    def close(self) -> None:
        """Ends what still runs; no more times come."""
        self._next = None
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


def _filtered(filters: Sequence[str]) -> list[str]:
    return ["-vf", ",".join(filters)] if filters else []


def _reduction(long_side: int) -> str:
    """A filter that makes pixels square and leaves smaller pictures as large as they are shown; `area` averages all
    that a pixel covers."""
    width, height = "iw*max(1,sar)", "ih*max(1,1/sar)"
    share = f"min(1,{long_side}/max({width},{height}))"
    return f"scale=w='max(1,round({width}*{share}))':h='max(1,round({height}*{share}))':flags=area"


def _seconds(stamp: Stamp) -> float:
    return round(float(stamp.time_s), _DECIMALS)


def _no_frames(path: Path, decoder: Decoder) -> MediaError:
    if not decoder.kinds:
        return MediaError(path, why_unreadable(path, decoder.errors))
    if "Video" not in decoder.kinds:
        return MediaError(path, NO_PICTURE)
    if not decoder.errors:
        return MediaError(path, "no frame in this file's video stream")
    return MediaError(path, f"not a single frame could be decoded ({decoder.errors[0]})")


def _read_ppm(stream: BinaryIO) -> Pixels | None:
    """One binary PPM picture; None at the end of the stream, also in the middle of a picture."""
    if stream.readline() != b"P6\n":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()  # the largest value, 255
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    return pixels if _read_into(stream, pixels.data.cast("B")) else None


def _read_into(stream: BinaryIO, buffer: memoryview) -> bool:
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not count:
            return False
        filled += count
    return True
