"""What is missing is counted; what a decoder only grumbles about is not missing."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import pytest
from helpers.media_fixtures import H264, ffmpeg, write_pattern

from affcli.media.audio import open_sound
from affcli.media.packets import Packets
from affcli.media.video import open_video


def counted(announced: list[tuple[int, str]], shown: list[int]) -> tuple[int, tuple[int, int]]:
    """Packets with these stamps and flags, frames with these: how many are announced, and how many lost."""
    lines = [f"0, {ticks}, {ticks}, 1, 100, 0x0{flags}\n" for ticks, flags in announced]
    packets = Packets(io.StringIO("".join(["#tb 0: 1/25\n", *lines])))
    for ticks in shown:
        packets.came_out(Fraction(ticks, 25), Fraction(1, 25))
    packets.wait()
    return packets.announced, packets.lost()


PLAIN = [(ticks, "") for ticks in range(20)]


@pytest.mark.parametrize(
    ("announced", "shown", "lost"),
    [
        (PLAIN, range(20), (0, 0)),
        (PLAIN, [*range(8), *range(11, 20)], (0, 3)),
        (PLAIN, [*range(8), 9, *range(10, 20)], (0, 1)),
        (PLAIN, range(18), (0, 2)),  # at the end
        (PLAIN, range(4, 20), (4, 0)),  # an open group of pictures at the beginning
        ([*PLAIN[:3], (2, ", F=0x4"), *PLAIN[3:]], range(20), (0, 0)),  # discarded by an edit list
        (
            [(2 * ticks, "") for ticks in range(9)] + [(2 * ticks + 1, "") for ticks in range(9)],
            range(0, 18, 2),
            (0, 0),
        ),
    ],
)
def test_only_what_lies_in_a_hole_is_lost(
    announced: list[tuple[int, str]], shown: list[int], lost: tuple[int, int]
) -> None:
    """The last case: two fields a picture, each a packet."""
    assert counted(announced, list(shown))[1] == lost


def test_a_long_film_is_counted_in_parts() -> None:
    announced = [(ticks, "") for ticks in range(30_000)]
    shown = [ticks for ticks in range(30_000) if ticks not in (5000, 12_345, 12_346, 29_998)]
    assert counted(announced, shown) == (30_000, (0, 4))


def test_a_tag_that_cannot_be_read_is_no_gap(tmp_path: Path) -> None:
    """A whole AAC stream whose ID3 tag holds a broken cover: ffmpeg complains, and nothing is missing."""
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", "-f", "adts", tmp_path / "plain.aac")
    picture = b"\0image/jpeg\0\3\0" + b"\xff\xd8\xff\xe0\0\0broken"
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    tag = b"ID3\3\0\0" + bytes((0, 0, len(frame) >> 7, len(frame) & 127)) + frame
    (tmp_path / "tagged.aac").write_bytes(tag + (tmp_path / "plain.aac").read_bytes())
    with open_sound(tmp_path / "tagged.aac", sample_rate_hz=8000) as sound:
        assert sum(piece.keep_to - piece.keep_from for piece in sound) > 7500
        assert sound.problem is None


def test_a_cut_file_says_how_much_is_missing(tmp_path: Path) -> None:
    path = write_pattern(tmp_path / "cut.mkv", *H264, "-g", "5", seconds=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_video(path) as frames:
        count = sum(1 for _ in frames)
    assert 30 < count < 70
    assert frames.problem is not None
    assert frames.problem.startswith(f"the file ends at {count / 25:.2f} s, {4 - count / 25:.2f} s (")
    assert f"before its header says; {count} frames are there" in frames.problem
