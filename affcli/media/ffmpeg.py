"""The plumbing around one ffmpeg process: data on pipes, time stamps on one more, messages drained by a thread.

Files are data. ffmpeg gets them as `file:` and an absolute path, so that a name is never read as a URL, an option or a
pattern; it may open nothing else (`-protocol_whitelist`), and only containers that hold their own media
(`-format_whitelist`): a playlist or a picture pattern named `.mp4` opens no other file.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

from affcli.errors import AffcliError

# Demuxers that read one file and nothing else. Not here: playlists (hls, concat, dash, …), scripts, pictures.
_CONTAINERS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,av1,avi,avs2,avs3,caf,cavsvideo,dhav,dirac,dnxhd,dts,dv,eac3,flac,"
    "flv,gif,gxf,h261,h263,h264,hevc,ivf,kux,live_flv,loas,m4v,matroska,mjpeg,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nut,"
    "nuv,obu,ogg,rm,swf,tak,truehd,tta,vc1,vc1test,vivo,voc,vvc,w64,wav,wtv,wv,yuv4mpegpipe"
)
_LINE: Final = re.compile(r"(?:\[(?P<part>[^\]]*) @ 0x[0-9a-f]+\] )*\[(?P<level>[a-z]+)\] (?P<text>.*)")
_START: Final = re.compile(r"  Duration: .*?, start: (-?\d+\.\d+)")
_STREAM: Final = re.compile(r"  Stream #0:\d+.*?: (Video|Audio): (?!.*\(attached pic\))")  # cover pictures aside
# Said of the encoders of our stamps, frame by frame, in ticks; ffmpeg repeats the previous stamp then.
_BACKWARDS: Final = re.compile(r"Non-monotonic DTS; previous: (-?\d+), current: (-?\d+);.*")
_STAMPED: Final = ("wrapped_avframe", "pcm_f32le")
_BACK_S: Final = 1  # less is disorder of a few frames
_AHEAD_S: Final = 24 * 3600  # MPEG-TS counts to 26.5 h; ffmpeg takes some steps back for its beginning again
_KEPT_ERRORS: Final = 20
_INSTALL: Final = "Install imageio-ffmpeg from a wheel, or name an ffmpeg (version 7 or newer) in IMAGEIO_FFMPEG_EXE."
_PIPE_BYTES: Final = 1 << 20
_FLUSHED: Final = ("-flush_packets", "1")
# What our own outputs complain of (equal stamps) is no fault of the file, and these lines only repeat an earlier one.
_OUTPUTS: Final = ("image2pipe", "framecrc", "f32le")
_FOLLOW_UPS: Final = ("Error opening input", "Error opening output", "Conversion failed!", "Failed to set value")


class MediaError(AffcliError):
    """A file that cannot be decoded at all; `reason` is the message without the file's name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Stamp:
    """One frame or one block of samples: when it is presented, and the bytes of its data (pcm only)."""

    time_s: Fraction
    size: int


@dataclass(frozen=True)
class Clock:
    """How a file counts time: where its container starts, and the unit of its pictures' time stamps.

    `pixel_aspect` is the shape of a pixel of the upright picture, width / height.
    """

    start_s: Fraction
    tick_s: Fraction
    pixel_aspect: Fraction


class Decoder:
    """A running ffmpeg. `stamps()` and each of `data` are read in step, then `finish()`; `close()` at any time."""

    def __init__(
        self,
        path: Path,
        data_outputs: Sequence[Sequence[str]],
        stamp_output: Sequence[str],
        *,
        decoding: Sequence[str] = (),
    ) -> None:
        """Starts ffmpeg. The outputs are ffmpeg's options up to, not including, the format's flags and the file.

        Each of `data_outputs` has its stream in `data`, in that order; without any, only stamps are made. `decoding`
        are options of the decoder. Raises MediaError for what is no readable, regular file.
        """
        self.path = path
        self.start_s = Fraction(0)
        self.kinds: set[str] = set()  # "Video", "Audio": what the file holds
        self._tick_s = Fraction(1, 1000)
        self._pixel_aspect = Fraction(1)
        self.errors: list[str] = []
        self._back = (0, 0)  # the stamps, in ticks, before and after the clock's largest step back
        self._ahead = (Fraction(0), Fraction(0))  # the times before and after a step that no recorder's clock makes
        self._identity = _check_file(path)
        self._described = threading.Event()
        self._start(data_outputs, stamp_output, decoding)
        self._drain = threading.Thread(target=self._read_messages, name="ffmpeg messages", daemon=True)
        self._drain.start()

    def _start(
        self, data_outputs: Sequence[Sequence[str]], stamp_output: Sequence[str], decoding: Sequence[str]
    ) -> None:
        ends = [os.pipe() for _ in range(len(data_outputs) + 1)]
        outputs = [[*output, *_FLUSHED] for output in data_outputs] + [[*stamp_output, *_FLUSHED, "-f", "framecrc"]]
        written = [word for out, (_, end) in zip(outputs, ends, strict=True) for word in (*out, f"pipe:{end}")]
        try:
            self._process = subprocess.Popen(
                [*_command(self.path, decoding), *written],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[write_end for _, write_end in ends],
                env=environment(),
                start_new_session=True,  # Ctrl-C comes to us alone, so ffmpeg's end is never taken for the file's
            )
        except OSError as error:
            for read_end, _ in ends:
                os.close(read_end)
            raise AffcliError(f"ffmpeg cannot be started ({error}). {_INSTALL}") from error
        finally:
            for _, write_end in ends:
                os.close(write_end)
        *data_ends, (stamp_end, _) = ends
        self.data: list[BinaryIO] = [os.fdopen(read_end, "rb") for read_end, _ in data_ends]
        for pipe in self.data:
            _enlarge(pipe)
        self._stamps = os.fdopen(stamp_end, "r", encoding="ascii", errors="replace")

    @property
    def clock(self) -> Clock:
        """The file's clock, known when the first stamp has come."""
        return Clock(self.start_s, self._tick_s, self._pixel_aspect)

    def stamps(self) -> Iterator[Stamp]:
        """The stamps, on the file's own clock: from the container's start, exact in the stream's time base."""
        unit = last_s = Fraction(0)
        for line in self._stamps:
            if line.startswith("#tb 0: "):
                self._tick_s = unit = Fraction(line[len("#tb 0: ") :].strip())
            elif line.startswith("#sar 0: "):
                self._pixel_aspect = _aspect(line[len("#sar 0: ") :])
            elif not line.startswith("#"):
                _, _, ticks, _, size, *_ = line.split(",")
                self._described.wait()
                time_s = int(ticks) * unit - self.start_s
                if time_s - last_s > _AHEAD_S:
                    self._ahead = last_s, time_s
                last_s = time_s
                yield Stamp(time_s, int(size))

    def finish(self) -> str | None:
        """Waits for the end; the reason why the file was decoded only in part, or None where all went well."""
        status = self._process.wait()
        self._drain.join()
        self.close()
        if status < 0:
            self.errors.insert(0, f"ffmpeg itself was ended by signal {-status}")
        if self._has_changed():
            return "the file changed while it was read"
        if _is_cut_flv(self.path):
            return "the file ends within a tag: it was cut off"
        if problem := self._clock_problem():
            return problem
        if self.errors:
            return f"decoded only in part ({self.errors[0]})"
        return f"ffmpeg ended with status {status}" if status else None

    def _clock_problem(self) -> str | None:
        before_s, after_s = (ticks * self._tick_s - self.start_s for ticks in self._back)
        if before_s - after_s <= _BACK_S:
            before_s, after_s = self._ahead
        if before_s == after_s:
            return None
        return (
            f"its clock leaps from {float(before_s):.2f} to {float(after_s):.2f} s, as in recordings joined byte by "
            "byte; nothing from there on has its own time (ffmpeg -i FILE -c copy NEW.mkv gives it one)"
        )

    def _has_changed(self) -> bool:
        try:
            return _check_file(self.path) != self._identity
        except MediaError:  # it is gone
            return True

    def stop(self) -> None:
        """Ends ffmpeg if it still runs; what it has written can still be read."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """Ends ffmpeg if it still runs and frees every pipe; harmless when repeated."""
        self.stop()
        self._process.wait()
        self._drain.join()
        self._stamps.close()
        for pipe in self.data:
            pipe.close()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read_messages(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            self._take_message(raw.decode("utf-8", "replace").rstrip())
        self._described.set()

    def _take_message(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            return
        level, text = found["level"], found["text"]
        if level in ("error", "fatal", "panic"):
            if len(self.errors) < _KEPT_ERRORS and not (found["part"] in _OUTPUTS or text.startswith(_FOLLOW_UPS)):
                self.errors.append(text)
        elif back := _BACKWARDS.fullmatch(text):
            if (found["part"] or "").endswith(_STAMPED):
                step = int(back[1]), int(back[2])
                self._back = max(self._back, step, key=lambda stamps: stamps[0] - stamps[1])
        elif self._described.is_set():
            return
        elif stream := _STREAM.match(text):
            self.kinds.add(stream[1])
        elif start := _START.match(text):
            self.start_s = Fraction(start[1])
        elif text.startswith("Stream mapping:"):
            self._described.set()


def why_unreadable(path: Path, errors: Sequence[str]) -> str:
    """One reason, in plain words, why ffmpeg found no media in a file."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "the file is empty (0 bytes)"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP":
        return "this is a picture; give videos, or a folder of numbered pictures (00001.jpg, …)"
    if head.startswith((b"#EXTM3U", b"ffconcat", b"<?xml", b"[playlist]")):
        return "this is a playlist; give the media files themselves"
    text = errors[0] if errors else "no stream found"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):  # the boxes of MP4 and QuickTime
        return f"its index is missing: the file was cut off or never finished ({text})"
    if text.startswith(("Format not on whitelist", "moov atom not found")):
        return "not a video or sound file"
    return f"not a video or sound file, or its beginning is missing ({text})"


def _is_cut_flv(path: Path) -> bool:
    """Whether an FLV file ends before its last tag does, which ffmpeg passes over in silence.

    Every tag (type, 24-bit size of its data, 7 more bytes, the data) is followed by its own size in 4 bytes.
    """
    with path.open("rb") as file:
        if file.read(3) != b"FLV":
            return False
        end = file.seek(0, os.SEEK_END)
        file.seek(end - 4)
        tag_bytes = int.from_bytes(file.read(4), "big")
        if not 11 <= tag_bytes <= end - 4:
            return True
        file.seek(end - 4 - tag_bytes + 1)
        return int.from_bytes(file.read(3), "big") + 11 != tag_bytes


def _command(path: Path, decoding: Sequence[str]) -> list[str]:
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-y"]
    # -copyts: else ffmpeg moves the clock of some formats (MPEG-TS) to the start of the streams that are decoded, so
    # that sound and picture of one file, read in two passes, would each begin at 0.
    return [executable(), *quiet, "-copyts", *decoding, *input_options(path)]


def input_options(path: Path) -> list[str]:
    """ffmpeg's arguments for one file to read, and nothing else that may be opened."""
    limits = ["-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS]
    return [*limits, "-i", f"file:{path.absolute()}"]


def executable() -> str:
    """The ffmpeg that imageio-ffmpeg brings (or the one that IMAGEIO_FFMPEG_EXE names)."""
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        return str(get_ffmpeg_exe())
    except RuntimeError as error:
        raise AffcliError(f"no ffmpeg was found. {_INSTALL}") from error


def _enlarge(pipe: BinaryIO) -> None:
    """Lets a pipe hold more, so that the two processes switch less often; where the system forbids it, as it is."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def environment() -> dict[str, str]:
    """Ours, without what makes ffmpeg write log files or colour its messages."""
    kept = {key: value for key, value in os.environ.items() if key not in ("FFREPORT", "AV_LOG_FORCE_COLOR")}
    return {**kept, "AV_LOG_FORCE_NOCOLOR": "1"}


def _aspect(text: str) -> Fraction:
    """Width / height of a pixel as framecrc prints it (`16/11`); 1 where the file does not say."""
    width, height = map(int, text.split("/"))
    return Fraction(width, height) if width > 0 and height > 0 else Fraction(1)


def _check_file(path: Path) -> tuple[int, int, int]:
    """What changes when a file's content does (inode, size, time of change). Raises MediaError if it is unreadable."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise MediaError(path, f"{what}, not a file; media are read more than once")
        path.open("rb").close()
    except OSError as error:
        raise MediaError(path, error.strerror or str(error)) from error
    return status.st_ino, status.st_size, status.st_mtime_ns
