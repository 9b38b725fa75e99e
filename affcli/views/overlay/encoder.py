"""One ffmpeg process that encodes pictures as they come, each at its own time, and copies the source's other tracks."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.media.decoder import Clock
from affcli.media.ffmpeg import MediaError, environment, executable, input_options
from affcli.media.ffmpeg_log import Track
from affcli.views.overlay.kept_tracks import FORMAT_OF_SUFFIX, copied
from affcli.views.overlay.matroska import TICKS, before_picture, header

# Visually lossless at a size near the source's; fast enough that decoding and drawing set the pace.
_CODEC: Final = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18")
_LONE_FRAME_S: Final = Fraction(1, 25)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """The file that is drawn into: its clock, when players show its start, and the tracks that are copied."""

    path: Path
    clock: Clock
    starts_s: Fraction
    kept: tuple[Track, ...]


class Encoder:
    """A running ffmpeg: `write` pictures of one size, then `finish()`; `close()` at any time.

    The file at `output`, whose format `suffix` names, is complete after `finish`.
    """

    def __init__(self, source: Source, output: Path, suffix: str, size: tuple[int, int]) -> None:
        """`size` is height and width in pixels."""
        clock = source.clock
        self._source, self._clock = source, clock
        self._held: tuple[Pixels, int] | None = None  # and when it is shown, in ticks
        self._length = round(_LONE_FRAME_S / clock.tick_s)  # of the latest picture in ticks; the last takes it over
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            _command(source, output, suffix, size),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            env=environment(),
            start_new_session=True,
        )
        self._put(header(size[1], size[0]))

    def write(self, pixels: Pixels, time_s: float) -> None:
        """One picture, uint8 [height, width, 3] RGB, shown from `time_s` on, counted from the source's start; a time
        that does not grow is moved.

        It is kept until the next one tells how long it is shown.
        """
        ticks = round((Fraction(time_s) + self._source.starts_s) / self._clock.tick_s)
        if self._held is not None:
            ticks = max(ticks, self._held[1] + 1)
            self._length = ticks - self._held[1]
            self._release()
        self._held = (np.ascontiguousarray(pixels), ticks)

    def _release(self) -> None:
        if self._held is None:
            return
        (pixels, ticks), self._held = self._held, None
        start, length = (round(count * self._clock.tick_s * TICKS) for count in (ticks, self._length))
        self._put(before_picture(start, max(length, 1), pixels.nbytes))
        self._put(pixels.data)

    def _put(self, data: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self) -> None:
        """Waits for the end. Raises AffcliError, with one reason, where the file could not be made."""
        self._release()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            raise self._failure()

    def _failure(self) -> AffcliError:
        self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode("utf-8", "replace").splitlines()
        reason = f"ffmpeg could not encode it ({lines[0] if lines else 'without a reason'})"
        return MediaError(self._source.path, reason)

    def close(self) -> None:
        """Ends ffmpeg if it still runs and frees what it holds; harmless when repeated."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._messages.close()


def _command(source: Source, output: Path, suffix: str, size: tuple[int, int]) -> list[str]:
    clock = source.clock
    even = size[0] % 2 == size[1] % 2 == 0  # colour at half the resolution, which every player takes, needs it
    aspect = f"{clock.pixel_aspect.numerator}/{clock.pixel_aspect.denominator}"
    picture = f"scale=out_color_matrix=bt709:out_range=tv,setsar={aspect}"
    colours = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
    unit = f"{clock.tick_s.numerator}/{clock.tick_s.denominator}"
    # -copyts keeps both clocks as they are: captions made for the source fit the new file. Only a start that players
    # do not see (of a container that they count from its first frame) is taken off.
    unseen_s = clock.start_s - source.starts_s
    return [
        *(executable(), "-hide_banner", "-nostats", "-loglevel", "error", "-y", "-copyts"),
        *("-f", "matroska", "-i", "pipe:0"),
        *("-itsoffset", f"{float(-unseen_s):.6f}", *input_options(source.path)),
        *("-map", "0:v:0", *copied(source.kept, source=1), "-map_metadata", "1"),
        *("-vf", picture, *_CODEC, "-pix_fmt", "yuv420p" if even else "yuv444p", *colours),
        *("-fps_mode", "passthrough", "-enc_time_base", unit, "-video_track_timescale", str(clock.tick_s.denominator)),
        *("-f", FORMAT_OF_SUFFIX[suffix], f"file:{output.absolute()}"),
    ]
