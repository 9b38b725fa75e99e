"""Keeps count of a job that works through inputs: what is at work, how fast, how much is left by frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from affcli.console.live_line import Shown, clock
from affcli.errors import counted
from affcli.files.inputs import MediaInput

_LEAST_S: Final = 1.0  # of work, before a rate means anything


@dataclass
class _Open:
    """An input at work: its size, the frames that it says it has, and those that are done."""

    size: float
    expected: int | None = None
    frames: int = 0

    @property
    def all(self) -> int:
        return max(self.expected or 0, self.frames)


class Watcher:
    """A job's `Progress`.

    What is left is counted in frames: those that opened inputs say they have, and, for inputs that were not opened yet,
    as many per byte as the others have.
    """

    def __init__(
        self,
        title: str,
        *,
        say: Callable[[str], None] | None = None,
        first: Callable[[], None] = lambda: None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`say`, where it is given, prints a line for each input that is done; `first` is called at the first frame."""
        self._title, self._say, self._first, self._now_s = title, say, first, now_s
        self._began_s = now_s()
        self.done = self.total = self.frames = 0
        self._waiting: dict[str, float] = {}  # inputs that were not opened yet, and their sizes
        self._waiting_size = self._ended_size = 0.0
        self._ended_frames = 0
        self._open: dict[str, _Open] = {}
        self._name, self._stage = "", ""

    def begins(self, left: Sequence[MediaInput], *, of: int) -> None:
        """These inputs are left to do, of so many."""
        self.total, self.done = of, of - len(left)
        self._waiting = {item.video: _size(item.path) for item in left}
        self._waiting_size = sum(self._waiting.values())
        self._began_s = self._now_s()

    def opened(self, item: MediaInput, stage: str, frames: int | None) -> None:
        """A stage of an input's work begins."""
        if item.video not in self._open:
            size = self._waiting.pop(item.video, 0.0)
            self._waiting_size -= size
            self._open[item.video] = _Open(size)
        if frames is not None:
            self._open[item.video].expected = frames
        self._name, self._stage = item.video, stage

    def __call__(self, frames: int) -> None:
        """So many more frames of the input that was opened last are done."""
        if frames and not self.frames:
            self._first()
        self.frames += frames
        if self._name in self._open:
            self._open[self._name].frames += frames

    def ended(self, item: MediaInput, problem: str | None, failure: str | None) -> None:
        """An input is done."""
        self.done += 1
        self._waiting_size -= self._waiting.pop(item.video, 0.0)
        ended = self._open.pop(item.video, _Open(0.0))
        self._ended_size += ended.size
        self._ended_frames += ended.frames
        if self._say is not None and failure is None:
            how = "done" if problem is None else "incomplete"
            self._say(f"{item.path}: {how}, {counted(ended.frames, 'frame')} ({self._so_far()})")

    def _so_far(self) -> str:
        shown = self.shown()
        left = "" if shown.left_s is None or self.done == self.total else f", {clock(shown.left_s)} left"
        rate = "" if shown.rate is None else f", {shown.rate:.1f} frames/s"
        return f"{self.done:,} of {self.total:,}{rate}{left}"

    def shown(self) -> Shown:
        """What there is to tell now."""
        elapsed_s = self._now_s() - self._began_s
        rate = self.frames / elapsed_s if elapsed_s >= _LEAST_S and self.frames else None
        left = self._frames_left()
        at_work = self._open.get(self._name)
        return Shown(
            self._title,
            elapsed_s=elapsed_s,
            done=self.done,
            total=self.total,
            name=self._name if at_work else "",
            frame=at_work.frames if at_work else 0,
            frames=at_work.all if at_work and at_work.expected else None,
            share=self.frames / (self.frames + left) if left is not None and self.frames + left else None,
            rate=rate,
            left_s=left / rate if left is not None and rate else None,
            note=self._stage if at_work else "",
        )

    def _frames_left(self) -> float | None:
        """None where nothing tells how many there are."""
        at_work = list(self._open.values())  # another thread may ask
        known = self._ended_frames + sum(one.all for one in at_work)
        size = self._ended_size + sum(one.size for one in at_work)
        if not known:
            return None
        return sum(one.all - one.frames for one in at_work) + self._waiting_size * known / max(size, 1.0)


def _size(path: Path) -> float:
    """In bytes; a folder counts as one, since it is only compared with others."""
    try:
        return 1.0 if path.is_dir() else float(path.stat().st_size)
    except OSError:
        return 0.0
