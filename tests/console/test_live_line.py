"""The line that says what a run is at: what stands in it at which width."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affcli.console.live_line import Shown, clock, columns, cut, line

AT_WORK = Shown(
    "label",
    done=3,
    total=6,
    name="a_very_long_interview_number_7",
    frame=412,
    frames=1600,
    share=0.42,
    rate=48.23,
    left_s=754,
    note="faces",
)


def test_a_wide_terminal_has_everything() -> None:
    assert line(AT_WORK, 150) == (
        "label ━━━━━━━━━━────────────── 42 % · 3/6 videos · a_very_long_interview_number_7: frame 412 of 1,600 · "
        "faces · 48.2 frames/s · 12:34 left"
    )


def test_a_narrow_terminal_still_says_how_much_which_how_fast_and_how_long() -> None:
    assert columns(line(AT_WORK, 47)) <= 47
    for part in ("42 %", "3/6", "412/1,600", "48.2/s", "12:34"):
        assert part in line(AT_WORK, 47)
    assert line(AT_WORK, 14) == "42 % · 12:34"


def test_before_anything_is_counted_the_stage_is_shown() -> None:
    loading = Shown("label", stage="loading networks", elapsed_s=3.2)
    assert line(loading, 48) == "label: loading networks… 0:03"
    assert line(loading, 24) == "loading networks… 0:03"


@given(
    width=st.integers(1, 200),
    name=st.text(max_size=60),
    frame=st.integers(0, 10**7),
    frames=st.none() | st.integers(1, 10**7),
    left_s=st.none() | st.floats(0, 10**7),
)
def test_no_line_is_wider_than_the_terminal(
    width: int, name: str, frame: int, frames: int | None, left_s: float | None
) -> None:
    shown = replace(AT_WORK, name=name, frame=frame, frames=frames, left_s=left_s)
    assert columns(line(shown, width)) <= width


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03"), (3 * 86400 + 4 * 3600 + 300, "3 d 04:05")],
)
def test_times_are_written_as_clocks(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_name_that_is_cut_keeps_its_beginning_and_its_end() -> None:

    assert cut("interview_0007", 9).startswith("inte")
    assert cut("interview_0007", 9).endswith("0007")
    assert columns(cut("面接面接面接面接", 9)) <= 9
