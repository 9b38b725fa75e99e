"""The plumbing around one ffmpeg process: data on pipes, time stamps on one more, messages drained by a thread."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from affcli.media.collecting import Collected
from affcli.media.ffmpeg import MediaError, check_file, decoding_command, environment, not_started
from affcli.media.ffmpeg_log import Description, Messages
from affcli.media.packets import Packets
from affcli.media.recognise import is_cut_flv

_BACK_S: Final = 1  # less is disorder of a few frames
_AHEAD_S: Final = 24 * 3600  # MPEG-TS counts to 26.5 h; ffmpeg takes some steps back for its beginning again
_PIPE_BYTES: Final = 1 << 20
BESIDE_BYTES: Final = 1 << 22  # half a minute of sound is half of it
_FLUSHED: Final = ("-flush_packets", "1")
_TICK: Final = "#tb 0: "
_COUNTED: Final = ("-c", "copy", "-copyinkf", "-copypriorss", "1")


@dataclass(frozen=True)
class Stamp:
    """One frame or one block of samples: when it is presented, and the bytes of its data.

    Of several streams that are stamped together the time is the first one's, and `sizes` has one number for each.
    """

    time_s: Fraction
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Width and height of the frame, in pixels."""
        return self.sizes[0]


@dataclass(frozen=True)
class Clock:
    """How a file counts time: where its container starts, and the unit of its pictures' time stamps.

    `pixel_aspect` is the shape of a pixel of the first upright picture, width / height.
    """

    start_s: Fraction
    tick_s: Fraction
    pixel_aspect: Fraction


@dataclass(frozen=True)
class Outputs:
    """What a decoder shall give: ffmpeg's options for each output, without the format's flags and the file.

    Each of `data` has its stream in `Decoder.data`, in that order. `stamps` are outputs of which only time and size
    count, frame by frame the same ones. `reading` are options of the demuxer and the decoder, `graph` a filter graph
    with several ends, `counted` the track whose packets are counted (`0:1`).
    """

    data: tuple[Sequence[str], ...]
    stamps: tuple[Sequence[str], ...]
    reading: tuple[str, ...] = ()
    graph: str | None = None
    counted: str | None = None
    beside: tuple[Sequence[str], ...] = ()


class Decoder:
    """A running ffmpeg. `stamps()` and each of `data` are read in step, then `finish()`; `close()` at any time.

    `reached_s` is where the last stamp's frame ends, if it is as long as the one before (`last_step_s`).
    """

    def __init__(self, path: Path, outputs: Outputs) -> None:
        """Starts ffmpeg. Raises MediaError for what is no readable, regular file."""
        self.path = path
        self.packets: Packets | None = None
        self._beside: Collected | None = None
        self._collected: tuple[bytes, ...] | None = None
        self.counted = outputs.counted or ""
        self._messages = Messages()
        self._tick_s, self._pixel_aspect = Fraction(1, 1000), Fraction(1)
        self._ahead = (Fraction(0), Fraction(0))  # the times before and after a step that no recorder's clock makes
        self.reached_s = self.last_step_s = Fraction(0)
        self.identity = check_file(path)
        self._start(outputs)
        self._drain = threading.Thread(target=self._read_messages, name="ffmpeg messages", daemon=True)
        self._drain.start()

    def _start(self, outputs: Outputs) -> None:
        # Each on a pipe of its own: ffmpeg interleaves the streams of one output by their times, and where times are
        # equal or leap back it would hold one stream's lines until the end.
        told = [*outputs.stamps, *([["-map", outputs.counted, *_COUNTED]] if outputs.counted else [])]
        written = [*outputs.data, *([*output, "-f", "framecrc"] for output in told), *outputs.beside]
        ends = [os.pipe() for _ in written]
        graph = [] if outputs.graph is None else ["-filter_complex", outputs.graph]
        words = [word for out, (_, end) in zip(written, ends, strict=True) for word in (*out, *_FLUSHED, f"pipe:{end}")]
        try:
            self._process = subprocess.Popen(
                [*decoding_command(self.path, outputs.reading), *graph, *words],
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
            raise not_started(error) from error
        finally:
            for _, write_end in ends:
                os.close(write_end)
        read_ends = [read_end for read_end, _ in ends]
        told_until = len(written) - len(outputs.beside)
        self._open(read_ends[:told_until], len(outputs.data), len(outputs.stamps))
        if outputs.beside:
            self._beside = Collected(read_ends[told_until:], BESIDE_BYTES)

    def _open(self, ends: Sequence[int], data: int, stamps: int) -> None:
        self.data: list[BinaryIO] = [os.fdopen(end, "rb") for end in ends[:data]]
        for pipe in self.data:
            _enlarge(pipe)
        self._stamps = [_text(end) for end in ends[data : data + stamps]]
        for end in ends[data + stamps :]:
            self.packets = Packets(_text(end))

    @property
    def description(self) -> Description:
        """What the file says it holds; waits until ffmpeg has opened it."""
        self._messages.described.wait()
        return self._messages.description

    @property
    def start_s(self) -> Fraction:
        """The container's start time, in seconds."""
        return self.description.start_s

    @property
    def clock(self) -> Clock:
        """The file's clock, known when the first stamp has come."""
        return Clock(self.start_s, self._tick_s, self._pixel_aspect)

    @property
    def errors(self) -> list[str]:
        """What ffmpeg complained of so far, at most 20 lines."""
        return self._messages.errors

    def stamps(self) -> Iterator[Stamp]:
        """The stamps, on the file's own clock: from the container's start, exact in the stream's time base."""
        last_s = Fraction(0)
        first, *others = (self._lines(pipe, first=pipe is self._stamps[0]) for pipe in self._stamps)
        for (ticks, size), *more in zip(first, *others, strict=False):
            time_s = ticks * self._tick_s - self.start_s
            self._pass_on(last_s, time_s)
            last_s = time_s
            yield Stamp(time_s, (size, *(other for _, other in more)))

    def _lines(self, pipe: TextIO, *, first: bool) -> Iterator[tuple[int, int]]:
        """Time in ticks, and size, of every frame of one output."""
        for line in pipe:
            if not line.startswith("#"):
                yield _time_and_size(line)
            elif first:
                self._take_header(line)

    def _pass_on(self, last_s: Fraction, time_s: Fraction) -> None:
        if time_s - last_s > _AHEAD_S:
            self._ahead = last_s, time_s
        elif time_s > last_s:
            self.last_step_s = time_s - last_s
        self.reached_s = max(self.reached_s, time_s + self.last_step_s)

    def _take_header(self, line: str) -> None:
        if line.startswith(_TICK):
            self._tick_s = Fraction(line[len(_TICK) :].strip())
        elif line.startswith("#sar 0: "):
            self._pixel_aspect = _aspect(line[len("#sar 0: ") :])

    def finish(self) -> str | None:
        """Waits for the end; what went wrong with the file or with ffmpeg itself, in one line, or None.

        That something is missing is not judged here.
        """
        status = self._process.wait()
        self._drain.join()
        if self.packets is not None:
            self.packets.wait()
        self._collected = None if self._beside is None else self._beside.wait()
        self.close()
        if status < 0:
            self.errors.insert(0, f"ffmpeg itself was ended by signal {-status}")
        if self._has_changed():
            return "the file changed while it was read"
        if is_cut_flv(self.path):
            return "the file ends within a tag: it was cut off"
        if problem := self._clock_problem():
            return problem
        if status:
            reason = self.errors[0] if self.errors else f"ffmpeg ended with status {status}"
            return f"decoded only in part ({reason})"
        return None

    def beside(self) -> tuple[bytes, ...] | None:
        """After `finish`: what came out of the outputs beside; None where it was too much, or anything was wrong.

        Beside means that what ffmpeg complains of may be the fault of these outputs, or of the others.
        """
        leaps = any(self._messages.back) or any(self._ahead)
        fine = not (self.errors or self.damaged_frames or leaps or self._process.returncode)
        return self._collected if fine else None

    @property
    def demuxer_errors(self) -> list[str]:
        """What ffmpeg found wrong with the container, at most 20 lines."""
        return self._messages.demuxer_errors

    @property
    def damaged_frames(self) -> int:
        """How many frames came with parts that the decoder had to invent."""
        return self._messages.damaged_frames

    def _clock_problem(self) -> str | None:
        before_s, after_s = (ticks * self._tick_s - self.start_s for ticks in self._messages.back)
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
            return check_file(self.path) != self.identity
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
        if self.packets is not None:
            self.packets.close()
        if self._beside is not None:
            self._beside.close()
        for lines in self._stamps:
            lines.close()
        for pipe in self.data:
            pipe.close()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read_messages(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            self._messages.take(raw.decode("utf-8", "replace").rstrip())
        self._messages.end()


def framecrc_lines(lines: Iterable[str]) -> tuple[Fraction, list[tuple[int, int]]]:
    """The unit of time, and time and size of every frame, as the muxer framecrc tells them."""
    tick_s, frames = Fraction(1, 1000), []
    for line in lines:
        if line.startswith(_TICK):
            tick_s = Fraction(line[len(_TICK) :].strip())
        elif not line.startswith("#"):
            frames.append(_time_and_size(line))
    return tick_s, frames


def _time_and_size(line: str) -> tuple[int, int]:
    _, _, ticks, _, size, *_ = line.split(",")
    return int(ticks), int(size)


def _text(end: int) -> TextIO:
    return os.fdopen(end, "r", encoding="ascii", errors="replace")


def _enlarge(pipe: BinaryIO) -> None:
    """Lets a pipe hold more, so that the two processes switch less often; where the system forbids it, as it is."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _aspect(text: str) -> Fraction:
    """Width / height of a pixel as framecrc prints it (`16/11`); 1 where the file does not say."""
    width, height = map(int, text.split("/"))
    return Fraction(width, height) if width > 0 and height > 0 else Fraction(1)
