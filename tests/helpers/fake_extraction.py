"""Extraction without networks: a text file stands for a video, a character for a frame; `bad…` cannot be decoded.

Everything else is as in the real thing: rows go into parts, chunk by chunk, and on from there after an interruption.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from affcli.errors import AffcliError
from affcli.files.inputs import MediaInput
from affcli.jobs import workers
from affcli.jobs.claims import Claims
from affcli.jobs.ends import Ends
from affcli.jobs.job import Ended, Job, Summary, run
from affcli.jobs.label_folder import LabelFolder
from affcli.jobs.labelling import Features, Labelling
from affcli.jobs.parts import Parts
from affcli.jobs.progress import Progress, Silent
from affcli.jobs.table_output import STREAM, TableOutput
from affcli.schema import CLASSES, class_fields, feature_field

QUICK_BEAT_S = 0.02  # of the processes here
SCHEMA = pa.schema([("video", pa.string()), ("frame", pa.int32()), ("time_s", pa.float64()), feature_field(1)])
FRAMES = pa.schema(
    [*list(SCHEMA)[:3], ("face", pa.bool_()), ("audio", pa.bool_()), *class_fields(CLASSES), ("label", pa.string())]
)


def rows(video: str, start: int, text: str) -> pa.Table:
    numbers = range(start + 1, start + len(text) + 1)
    features = pa.FixedSizeListArray.from_arrays(pa.array(np.array([ord(c) for c in text], np.float16)), 1)
    return pa.table([[video] * len(text), list(numbers), [n / 10 for n in numbers], features], schema=SCHEMA)


def extract(items: Iterable[MediaInput], parts: Parts, stream: str, step: Callable[[], None]) -> Iterator[Ended]:
    """Keeps a chunk every two rows; `step` is called before each row and before each input ends."""
    for item in items:
        try:
            part = parts.begin(item, stream, SCHEMA)
            if part is not None:
                text = item.path.read_text()
                done = part.states[-1]["rows"] if part.states else 0
                for index in range(done, len(text)):
                    step()
                    part.write(item.video, rows(item.video, index, text[index]))
                    if index % 2:
                        part.keep({"rows": index + 1})
                if text.startswith("bad"):
                    part.leave()
                    raise AffcliError(f"{item.path}: not a video.")
                part.finish("cut off" if text.startswith("cut") else None)
        except (AffcliError, OSError) as error:
            yield Ended(item, failure=str(error))
            continue
        step()
        yield Ended(item)


class FakeLabeller:
    """Sees and hears the same text. `Labelling` asks it as it asks the real one."""

    visual_sizes = audio_sizes = (1,)

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step

    def see(self, items: Iterable[MediaInput], parts: Parts, progress: Progress) -> Generator[Ended]:
        yield from extract(items, parts, "visual", self._step)

    def hear(self, item: MediaInput, parts: Parts, times_s: object, progress: Progress) -> Ended:
        [ended] = extract([item], parts, "audio", self._step)
        return ended

    def name(self, visuals: Features, audios: Features) -> Iterator[tuple[str, pa.Table]]:
        [visual] = visuals
        for video in visual.videos:
            known = visual.read_columns(video, ["video", "frame", "time_s", "feature"])
            number = pa.array(known["feature"].combine_chunks().flatten().to_numpy().astype(np.float32))
            there = pa.array([True] * len(known))
            label = pa.array([CLASSES[0]] * len(known))
            yield video, pa.table([*known.columns[:3], there, there, *[number] * len(CLASSES), label], schema=FRAMES)


def make(
    kind: str,
    folder: Path,
    names: Iterable[str],
    *,
    step: Callable[[], None] = lambda: None,
    factor: int = 1,
    **how: Any,
) -> Summary:
    """One run on `folder/NAME`, the inputs, which makes `folder/out.parquet` (kind `table`) or `folder/out`."""
    inputs = [MediaInput(name, folder / name, "file") for name in sorted(names)]
    if kind == "table":
        table = TableOutput(str(folder / "out.parquet"), "x", SCHEMA, {"factor": factor})
        return run(Job(table, **how), inputs, lambda items, parts, _: _extracted(items, parts, step), Silent())
    tables = LabelFolder(str(folder / "out"), {"classes": list(CLASSES), "factor": factor})
    return run(Job(tables, **how), inputs, Labelling(tables, FakeLabeller(step)), Silent())


def _extracted(items: Iterable[MediaInput], parts: Parts, step: Callable[[], None]) -> Generator[Ended]:
    for ended in extract(items, parts, STREAM, step):
        part = parts.find(ended.item, STREAM)
        yield Ended(ended.item, None if part is None else part.problem, ended.failure)


class Process:
    """The same in a process of its own, forked from this one: it can be killed, or held before one of its steps.

    Held, it is stopped (SIGSTOP), or with `waits` it runs on and waits for `go`.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        names: Iterable[str],
        *,
        dies_at: int = -1,
        holds_at: int = -1,
        waits: bool = False,
        **how: bool,
    ):
        self._report = folder / f".report-{os.urandom(4).hex()}"
        self._waiting = self._report.with_suffix(".waiting")
        self._ended = False
        self.pid = os.fork()
        if self.pid == 0:
            self._run(kind, folder, names, dies_at, self._holder(holds_at, waits), how)

    def _holder(self, holds_at: int, waits: bool) -> Callable[[], None]:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1
            if steps != holds_at:
                return
            if not waits:
                os.kill(os.getpid(), signal.SIGSTOP)
                return
            self._waiting.touch()
            while self._waiting.exists():
                time.sleep(0.002)

        return step

    def _run(
        self,
        kind: str,
        folder: Path,
        names: Iterable[str],
        dies_at: int,
        step: Callable[[], None],
        how: dict[str, bool],
    ) -> None:
        """Dies before the file number `dies_at` gets its name, a claim is made, or an end is told."""
        moments = 0

        def counted(act: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*arguments: object) -> object:
                nonlocal moments
                moments += 1
                if moments == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return act(*arguments)

            return counting

        try:
            workers.BEAT_S = QUICK_BEAT_S
            Path.replace = counted(Path.replace)  # type: ignore[method-assign]
            Claims._create = counted(Claims._create)  # type: ignore[method-assign]
            Ends.add = counted(Ends.add)  # type: ignore[method-assign]
            try:
                told = make(kind, folder, names, step=step, **how).outcome
            except AffcliError as error:
                told = type(error).__name__
            self._report.write_text(json.dumps(told))
        finally:
            os._exit(0)

    def wait_until_held_or_ended(self) -> bool:
        """Whether it is held."""
        while not self._waiting.exists():
            pid, status = os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)
            if pid:
                self._ended = not os.WIFSTOPPED(status)
                return not self._ended
            time.sleep(0.002)
        return True

    def go(self) -> None:
        """What was held goes on."""
        self._waiting.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGCONT)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> str:
        """The outcome, the name of the error, or `killed`."""
        if not self._ended:
            os.waitpid(self.pid, 0)
        self._waiting.unlink(missing_ok=True)
        if not self._report.exists():
            return "killed"
        told = json.loads(self._report.read_text())
        self._report.unlink()
        return str(told)
