"""WebVTT captions: a cue a segment, so that any player shows the label while it holds; `unsure` where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from affcli.views.labelled_video import LabelledVideo, players_times
from affcli.views.plain_text import plain_text
from affcli.views.segments import Segments, confidences
from affcli.views.uncertainty import UNSURE, unsure_stretches

# The characters that begin markup, or end a cue's timing line (W3C WebVTT, section 4.1).
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}


def captions(video: LabelledVideo, segments: Segments, source: str, *, confidence: bool = False) -> str:
    """The text of a WebVTT file, on the clock of players; with `confidence`, each segment's mean probability too.

    Raises AffcliError where the video has no times; `source` is for the message.
    """
    return "\n".join(["WEBVTT", "", *_cues(video, segments, source, confidence=confidence)])


def _cues(video: LabelledVideo, segments: Segments, source: str, *, confidence: bool) -> Iterator[str]:
    start_s, end_s = players_times(video, source)
    unsure = unsure_stretches(video)
    texts = [*_texts(video, segments, confidence=confidence), *[UNSURE] * len(unsure)]
    first, last = (np.append(*pair) for pair in ((segments.first, unsure.first), (segments.last, unsure.last)))
    begins, ends = milliseconds(start_s[first]).tolist(), milliseconds(end_s[last]).tolist()
    for at in np.argsort(first, kind="stable"):
        yield f"{clock(begins[at])} --> {clock(max(ends[at], begins[at] + 1))}\n{texts[at]}\n"


def _texts(video: LabelledVideo, segments: Segments, *, confidence: bool) -> list[str]:
    names = [escaped(video.classes[label]) for label in segments.label.tolist()]
    if not confidence:
        return names
    sure = confidences(video, segments)
    return [name if np.isnan(own) else f"{name} {100 * own:.0f} %" for name, own in zip(names, sure, strict=True)]


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
    return plain_text(text).translate(_ESCAPES)
