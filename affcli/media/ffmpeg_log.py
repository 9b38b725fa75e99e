"""What only ffmpeg's messages tell, and all that is known here about their wording.

Pixels, samples and time stamps come on pipes in formats made for machines; completeness is counted from them. Left for
the text are: what tracks a file has, where its clock starts and how long it says it is, the demuxer's complaints, and
steps back of the clock, which ffmpeg mends before anybody else sees them. Tried with the ffmpeg of imageio-ffmpeg 0.8.1
(n9.0.2) and of 0.6.0 (7.0.2, whose Linux binary crashes on every MPEG-TS file); the tests of this room run against the
one that is installed.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

_LINE: Final = re.compile(r"(?:\[(?P<part>[^\]]*) @ (?:0x)?[0-9a-f]+\] )*\[(?P<level>[a-z]+)\] (?P<text>.*)")
_INPUT: Final = re.compile(r"Input #0, ([^ ]+), from ")
_DURATION: Final = re.compile(r"  Duration: (?:(\d+):(\d+):(\d+\.\d+)|N/A)(?:, start: (-?\d+\.\d+))?")
_STREAM: Final = re.compile(r"  Stream #0:(\d+)(?:\[[^\]]*\])?(?:\([^)]*\))?: (\w+): (.*)")
_KEY_ID: Final = re.compile(r" +enc_key_id +: ")
_ESTIMATED: Final = "Estimating duration from bitrate"
_BACKWARDS: Final = re.compile(r"Non-monotonic DTS; previous: (-?\d+), current: (-?\d+);.*")
# Whose complaints are no fault of the file: our own outputs, and encoders that get equal stamps.
_OUTPUTS: Final = ("image2pipe", "framecrc", "f32le", "rawvideo", "out#")
# These only repeat an earlier line.
_FOLLOW_UPS: Final = (
    "Error opening input",
    "Error opening output",
    "Conversion failed!",
    "Failed to set value",
    "Error submitting packet to decoder",
    "Error while decoding",
    "Nothing was written into output file",
    "Terminating thread",
    "Task finished with error code",
)
_DEMUXERS: Final = frozenset((
    "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "avi", "flv", "mpegts", "mpeg", "asf", "ogg", "wav", "mxf", "aiff",
    "au", "caf", "flac", "mp3", "aac", "w64", "nistsphere", "ivf", "rm", "gif", "apng", "webp_anim",
))  # fmt: skip
_DAMAGED_FRAME: Final = "corrupt decoded frame"
_KEPT_ERRORS: Final = 20
_STILL_CODECS: Final = frozenset(("mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "ppm", "targa"))
_NO_TIMING: Final = re.compile(r"1200k tbr")  # of raw H.264 and H.265 whose headers hold no rate
_RATE: Final = re.compile(r", (\d+(?:\.\d+)?)(k?) fps")
_TIMELESS: Final = frozenset(("h264", "hevc", "vvc", "mjpeg", "mjpeg_2000", "h261", "h263"))

Kind = Literal["Video", "Audio"]


@dataclass(frozen=True)
class Track:
    """One picture or sound track as ffmpeg describes it: `index` counts all of a file's streams from 0."""

    index: int
    kind: str
    about: str

    @property
    def codec(self) -> str:
        """The codec's name, as ffmpeg gives it."""
        return re.split(r"[ ,]", self.about, maxsplit=1)[0]

    @property
    def is_cover(self) -> bool:
        """Whether the container itself says that this is a picture beside the sound."""
        return "(attached pic)" in self.about or "(timed thumbnails)" in self.about

    @property
    def may_be_still(self) -> bool:
        """Whether its codec is one of still images."""
        return self.codec in _STILL_CODECS

    @property
    def is_default(self) -> bool:
        """Whether the container flags it as the default track."""
        return "(default)" in self.about

    @property
    def is_ambisonic(self) -> bool:
        """Whether its channels are ambisonic components, not loudspeakers."""
        return "ambisonic" in self.about

    @property
    def has_floats(self) -> bool:
        """Whether its samples are stored as floating-point numbers, which may have any scale."""
        return self.codec.startswith(("pcm_f32", "pcm_f64", "pcm_f16", "pcm_f24"))


@dataclass(frozen=True)
class Description:
    """What a file says it holds. `duration_s` is None where nothing says it; `start_s` is the container's start."""

    container: str = ""
    start_s: Fraction = Fraction(0)
    duration_s: Fraction | None = None
    tracks: tuple[Track, ...] = ()
    encrypted: bool = False

    def of_kind(self, kind: Kind) -> list[Track]:
        """The tracks of a kind, in the container's order."""
        return [track for track in self.tracks if track.kind == kind]

    @property
    def pictures(self) -> list[Track]:
        """The picture tracks that are no covers."""
        return [track for track in self.of_kind("Video") if not track.is_cover]

    @property
    def is_raw(self) -> bool:
        """Whether it is a bare stream whose container, if there were one, would hold the times."""
        return self.container in _TIMELESS

    @property
    def has_no_times(self) -> bool:
        """Whether the rate of a bare stream is ffmpeg's assumption."""
        if self.container in ("h264", "hevc", "vvc"):
            return any(_NO_TIMING.search(track.about) for track in self.tracks)
        return self.is_raw

    @property
    def frames_expected(self) -> int | None:
        """About how many pictures the stated length and rate make; None where one of them is not stated."""
        rates = [found for track in self.pictures if (found := _RATE.search(track.about))]
        if self.duration_s is None or not rates:
            return None
        fps = float(rates[0][1]) * (1000 if rates[0][2] else 1)
        return round(float(self.duration_s - max(self.start_s, Fraction(0))) * fps) or None

    @property
    def counts_from_zero(self) -> bool:
        """Whether browsers show the container's time 0 at their time 0, so that a late start is seen as a wait.

        Tried in Chromium: MP4, WebM and Matroska do; of other containers players show the first frame at 0.
        """
        return self.container.startswith(("mov,", "matroska"))


class Messages:
    """Takes ffmpeg's lines as they come. `described` is set when `description` is complete."""

    def __init__(self) -> None:
        self.described = threading.Event()
        self.description = Description()
        self.errors: list[str] = []
        self.demuxer_errors: list[str] = []
        self.damaged_frames = 0
        self.back = (0, 0)  # the stamps, in ticks, before and after the clock's largest step back
        self._estimated = False
        self._container, self._start_s = "", Fraction(0)
        self._duration_s: Fraction | None = None
        self._tracks: list[Track] = []
        self._encrypted = False

    def end(self) -> None:
        """There are no more lines."""
        self._describe()

    def take(self, line: str) -> None:
        """Takes in one line of ffmpeg's log."""
        found = _LINE.fullmatch(line)
        if found is None:
            return
        level, text, part = found["level"], found["text"], found["part"] or ""
        if level in ("error", "fatal", "panic"):
            self._take_error(part, text)
        elif text.startswith(_DAMAGED_FRAME):
            self.damaged_frames += 1
        elif back := _BACKWARDS.fullmatch(text):
            if "copy" not in part:  # said of the encoders of our stamps, frame by frame
                step = int(back[1]), int(back[2])
                self.back = max(self.back, step, key=lambda stamps: stamps[0] - stamps[1])
        elif not self.described.is_set():
            self._take_description(text)

    def _take_error(self, part: str, text: str) -> None:
        if part.startswith(_OUTPUTS) or text.startswith(_FOLLOW_UPS):
            return
        if len(self.errors) < _KEPT_ERRORS:
            self.errors.append(text)
        if (part.startswith("in#") or part in _DEMUXERS) and len(self.demuxer_errors) < _KEPT_ERRORS:
            self.demuxer_errors.append(text)

    def _take_description(self, text: str) -> None:
        if text.startswith("Stream mapping:"):
            self._describe()
        elif text.startswith(_ESTIMATED):
            self._estimated = True
        elif found := _INPUT.match(text):
            self._container = found[1].rstrip(",")
        elif found := _DURATION.match(text):
            self._start_s = Fraction(found[4] or 0)
            if found[1] is not None and not self._estimated:
                self._duration_s = int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3])
        elif found := _STREAM.match(text):
            self._tracks.append(Track(int(found[1]), found[2], found[3]))
        elif _KEY_ID.match(text):
            self._encrypted = True

    def _describe(self) -> None:
        if not self.described.is_set():
            tracks = tuple(self._tracks)
            self.description = Description(self._container, self._start_s, self._duration_s, tracks, self._encrypted)
            self.described.set()
