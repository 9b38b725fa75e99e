"""Counting what a container announces against what was decoded, so that nothing goes missing unnoticed."""

from __future__ import annotations

import threading
from array import array
from fractions import Fraction
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

# Flags of packets, as libavcodec/packet.h numbers them.
_KEY, _DISCARD = 1, 4
_SETTLED_AT: Final = 8192  # packets that are held before those that have come out are forgotten
_REACH: Final = 1024  # frames that a decoder may still hold back


class Packets:
    """The packets of one track, read from a pipe in a thread of its own, since nobody waits for them.

    Those that an edit list says not to show (flagged as discarded) are passed over. `announced` counts the others,
    `length_s` adds up their durations.
    """

    def __init__(self, pipe: TextIO) -> None:
        self.announced = 0
        self.length_s = Fraction(0)
        self._ticks, self._tick_s = 0, Fraction(1, 1000)
        self._pipe, self._shown = pipe, _Shown()
        self._thread = threading.Thread(target=self._read, name="affcli-packets", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            if line.startswith("#tb 0: "):
                self._tick_s = Fraction(line[len("#tb 0: ") :].strip())
            elif not line.startswith("#"):
                self._take(line)

    def _take(self, line: str) -> None:
        _, _, ticks, duration, size, _, *more = line.split(",")
        flags = next((int(text.strip()[2:], 16) for text in more if text.strip().startswith("F=")), _KEY)
        if flags & _DISCARD or int(size) == 0:
            return
        self.announced += 1
        self._ticks += int(duration)
        self._shown.announce(int(ticks))

    def wait(self) -> None:
        """Until the last packet is counted."""
        self._thread.join()
        self.length_s = self._ticks * self._tick_s

    def close(self) -> None:
        """ffmpeg has ended, and the pipe with it."""
        self._thread.join()
        self._pipe.close()

    def came_out(self, time_s: Fraction, tick_s: Fraction) -> None:
        """A frame was decoded; `time_s` as the container counts."""
        self._shown.show(round(time_s / tick_s))

    def lost(self) -> tuple[int, int]:
        """How many packets gave no frame before the first frame, and how many after it.

        A packet counts as lost where its time lies in a hole of the frames' times: more than one and a half usual
        intervals after the frame before and half an interval before the next. So the second field of a picture,
        frames that are never shown (VP8's alternate references) and stamps that the demuxer has guessed are none.
        """
        return self._shown.lost()


class _Shown:
    """The times, in ticks, that were announced and those that came out, of which only the differences are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._announced, self._shown = array("q"), array("q")
        self._before = self._inside = 0
        self._first: int | None = None
        self._interval = 0.0

    def announce(self, ticks: int) -> None:
        with self._lock:
            self._announced.append(ticks)

    def show(self, ticks: int) -> None:
        with self._lock:
            self._shown.append(ticks)
            if len(self._shown) >= _SETTLED_AT:
                self._settle(keep=_REACH)

    def lost(self) -> tuple[int, int]:
        with self._lock:
            self._settle(keep=0)
            return self._before, self._inside

    def _settle(self, *, keep: int) -> None:
        """Counts what is lost up to the last frame but `keep`, and forgets the times before it."""
        shown = np.sort(np.frombuffer(self._shown, np.int64)) if self._shown else np.empty(0, np.int64)
        announced = np.sort(np.frombuffer(self._announced, np.int64)) if self._announced else np.empty(0, np.int64)
        if not len(shown):
            self._before += len(announced)
            return
        if self._first is None:
            self._first = int(shown[0])
            self._interval = _usual_interval(shown)
            self._before = int((announced < self._first).sum())
        done = shown[: len(shown) - keep] if keep else shown
        until = done[-1] if keep else np.iinfo(np.int64).max
        self._inside += _in_holes(announced[(announced > self._first) & (announced <= until)], done, self._interval)
        self._shown = array("q", shown[len(done) - 1 :].tobytes())
        self._announced = array("q", announced[announced > until].tobytes())


def _usual_interval(shown: NDArray[np.int64]) -> float:
    steps = np.diff(shown)
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 0.0


def _in_holes(announced: NDArray[np.int64], shown: NDArray[np.int64], interval: float) -> int:
    """How many of the announced times lie where no frame is shown, nor about to be."""
    following = np.searchsorted(shown, announced)
    before = shown[np.maximum(following - 1, 0)]
    after = np.where(following < len(shown), shown[np.minimum(following, len(shown) - 1)], np.iinfo(np.int64).max)
    unseen = (after != announced) & (announced - before > interval / 2) & (after - announced > interval / 2)
    hole = (after - before > 1.5 * interval) & unseen
    return int(hole.sum())
