"""How much of a job is left, counted in frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from affcli.console.watcher import Watcher
from affcli.files.inputs import MediaInput


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def inputs(tmp_path: Path) -> list[MediaInput]:
    """Files of 100, 300 and 400 bytes."""
    found = []
    for name, size in (("a", 100), ("b", 300), ("c", 400)):
        (tmp_path / f"{name}.mp4").write_bytes(b"x" * size)
        found.append(MediaInput(name, tmp_path / f"{name}.mp4", "file"))
    return found


def test_time_left_is_by_frames_and_those_of_unopened_inputs_by_their_bytes(inputs: list[MediaInput]) -> None:
    clock = Clock()
    watcher = Watcher("label", now_s=clock)
    watcher.begins(inputs, of=4)  # one was done before
    assert (watcher.shown().share, watcher.shown().left_s) == (None, None)
    watcher.opened(inputs[0], "faces", 50)
    clock.s = 10
    watcher(20)
    shown = watcher.shown()
    # 2 frames/s; 30 frames of `a` are left, and half a frame per byte of the 700 others.
    assert (shown.name, shown.frame, shown.frames, shown.note) == ("a", 20, 50, "faces")
    assert (shown.done, shown.total, shown.rate) == (1, 4, 2.0)
    assert shown.left_s == (30 + 350) / 2
    assert shown.share == 20 / 400


def test_an_input_that_ended_counts_with_the_frames_that_it_had(inputs: list[MediaInput]) -> None:
    clock = Clock()
    watcher = Watcher("label", now_s=clock)
    watcher.begins(inputs, of=3)
    watcher.opened(inputs[0], "faces", 50)
    watcher(10)
    watcher.opened(inputs[0], "audio", None)  # a second stage of the same input: nothing is counted twice
    watcher.ended(inputs[0], None, None)
    clock.s = 5
    shown = watcher.shown()
    assert (shown.done, shown.name) == (1, "")
    assert shown.left_s == 70 / 2  # a tenth of a frame per byte


def test_a_line_for_each_input_that_is_done_and_none_for_one_that_failed(inputs: list[MediaInput]) -> None:
    said: list[str] = []
    clock = Clock()
    watcher = Watcher("label", say=said.append, now_s=clock)
    watcher.begins(inputs, of=3)
    watcher.opened(inputs[0], "faces", 50)
    watcher(1)
    clock.s = 10
    watcher(49)
    watcher.ended(inputs[0], None, None)
    watcher.ended(inputs[1], None, "no video")
    watcher.opened(inputs[2], "faces", 200)
    watcher(50)
    watcher.ended(inputs[2], "cut off", None)
    assert said == [
        f"{inputs[0].path}: done, 50 frames (1 of 3, 5.0 frames/s, 1:10 left)",
        f"{inputs[2].path}: incomplete, 50 frames (3 of 3, 10.0 frames/s)",
    ]


def test_the_first_frames_are_told_once(inputs: list[MediaInput]) -> None:
    told: list[int] = []
    watcher = Watcher("label", first=lambda: told.append(1))
    watcher.begins(inputs, of=3)
    for frames in (0, 3, 4):
        watcher(frames)
    assert told == [1]
