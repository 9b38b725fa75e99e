"""Frames that become known while sound is heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.media_fixtures import H264, write_pattern
from hypothesis import given
from hypothesis import strategies as st

from affcli.files.inputs import MediaInput
from affcli.media.ffmpeg import MediaError
from affcli.media.hearing import FrameReader, MoreFrames, ShownFrames
from affcli.media.video import read_frame_times

STEPS = st.lists(st.integers(1, 90), min_size=1, max_size=30)


@given(steps=STEPS, cuts=st.lists(st.integers(0, 30), max_size=4), asked=st.integers(0, 3000))
def test_frames_told_bit_by_bit_are_never_counted_too_early_and_are_all_there_in_the_end(
    steps: list[int], cuts: list[int], asked: int
) -> None:
    times_s = np.cumsum(steps) / 100
    whole, grown = ShownFrames(times_s), ShownFrames(np.empty(0), complete=False)
    pieces = np.split(times_s, sorted(cut for cut in cuts if cut < len(times_s)))
    for number, piece in enumerate(pieces, start=1):
        grown.add(MoreFrames(piece, complete=number == len(pieces)))
        known = grown.before(asked / 100)
        assert known <= whole.before(asked / 100)
        assert np.array_equal(grown.centres_s(0, known), whole.centres_s(0, known))
        assert all(grown.centre_from_s(frame) <= whole.centre_from_s(frame) for frame in range(len(times_s) + 1))
    assert grown.before(asked / 100) == whole.before(asked / 100)
    assert np.array_equal(grown.centres_s(0, 99), whole.centres_s(0, 99))
    assert grown.centre_from_s(len(times_s)) == np.inf


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> MediaInput:
    path = write_pattern(tmp_path_factory.mktemp("clip") / "clip.mp4", *H264, seconds=8)
    return MediaInput("clip", path, "file")


@pytest.mark.parametrize("known", [0, 3, 200])
def test_frame_times_are_those_of_the_picture_without_those_known(known: int, clip: MediaInput) -> None:
    expected = read_frame_times(clip.path)
    with FrameReader(clip, known) as reader:
        first = reader.take(2.0)
        assert first.complete or known + len(first.times_s) > 51  # later than 2 s
        rest = reader.take(np.inf)
        assert rest.complete
        assert reader.take(np.inf).times_s.size == 0
    assert np.array_equal(np.concatenate([first.times_s, rest.times_s]), expected[known:])


def test_leaving_early_ends_the_decoder(tmp_path: Path) -> None:
    long = write_pattern(tmp_path / "long.mp4", *H264, seconds=60, size="320x240")
    with FrameReader(MediaInput("long", long, "file"), 0) as reader:
        reader.take(0.0)
        process = reader._reader._decoder._process
    assert process.returncode is not None
    assert not reader._thread.is_alive()


def test_no_picture_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError):
        FrameReader(MediaInput("text", tmp_path / "text.mp4", "file"), 0)
