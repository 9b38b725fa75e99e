"""WebVTT captions: a cue a segment, so that any player shows the label while it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from affcli.views.labelled_video import LabelledVideo, players_times
from affcli.views.segments import Segments

# The characters that begin markup, or end a cue's timing line (W3C WebVTT, section 4.1).
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}


def captions(video: LabelledVideo, segments: Segments, source: str) -> str:
    """The text of a WebVTT file, on the clock of players.

    Raises AffcliError where the video has no times; `source` is for the message.
    """
    return "\n".join(["WEBVTT", "", *_cues(video, segments, source)])


def _cues(video: LabelledVideo, segments: Segments, source: str) -> Iterator[str]:
    start_s, end_s = players_times(video, source)
    begins, ends = milliseconds(start_s[segments.first]), milliseconds(end_s[segments.last])
    for begin, end, label in zip(begins.tolist(), ends.tolist(), segments.label.tolist(), strict=True):
        yield f"{clock(begin)} --> {clock(max(end, begin + 1))}\n{escaped(video.classes[label])}\n"


def milliseconds(time_s: np.ndarray) -> np.ndarray:
    """Seconds as whole milliseconds, so that a segment ends exactly where the next begins."""
    whole: np.ndarray = np.rint(np.maximum(time_s, 0) * 1000).astype(np.int64)
    return whole


def clock(time_ms: int) -> str:
    """`00:01:02.345`."""
    minutes, rest = divmod(time_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"


def escaped(text: str) -> str:
    """Text on one line that no parser takes for markup; a cue must not be empty."""
    line = " ".join(text.replace("\0", "\ufffd").split())
    return line.translate(_ESCAPES) or "\u2013"
