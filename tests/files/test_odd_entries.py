"""One bad entry never costs a folder: each is an input that fails, alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from affcli.errors import AffcliError
from affcli.files.inputs import digest, find_inputs


def test_every_odd_entry_is_an_input_and_the_good_ones_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s" / "deep").mkdir(parents=True)
    for name in ("a.mp4", "s/b.mp4", "s/deep/c.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "s" / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "s" / "circle").symlink_to("circle")
    (tmp_path / "s" / "up").symlink_to(tmp_path)
    (tmp_path / "s" / "gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "s" / "pipe.mp4")
    monkeypatch.chdir(tmp_path / "s")  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.mp4")
        found = {item.video: item for item in find_inputs([tmp_path])}
    assert set(found) == {"a", "b", "c", "loop", "gone", "pipe", "socket"}
    for video in ("loop", "gone", "pipe", "socket"):
        with pytest.raises(AffcliError, match=rf"{video}\.mp4: "):
            digest(found[video])


def test_a_circle_that_is_named_itself_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert [item.video for item in find_inputs([tmp_path / "a.mp4", tmp_path / "loop.mp4"])] == ["a", "loop"]
