"""Captions, a cue a segment, so that any player shows the label while it holds: WebVTT and SubRip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from affcli.views.labelled_video import LabelledVideo, players_times
from affcli.views.plain_text import plain_text
from affcli.views.segments import Segments, confidences
from affcli.views.uncertainty import UNSURE, unsure_stretches

# The characters that begin markup, or end a cue's timing line (W3C WebVTT, section 4.1).
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
# SubRip has no escapes: what players take for markup (`<i>`, and `{\an8}` of ASS) is written in signs like it.
_LOOKALIKES: Final = {ord("<"): "\u2039", ord(">"): "\u203a", ord("{"): "(", ord("}"): ")"}


class Cue(NamedTuple):
    """A caption, in whole milliseconds; its text is not escaped yet."""

    begin_ms: int
    end_ms: int
    text: str


def captions(video: LabelledVideo, segments: Segments, source: str, *, confidence: bool = False) -> str:
    """The text of a WebVTT file, on the clock of players; with `confidence`, each segment's mean probability too.

    Raises AffcliError where the video has no times; `source` is for the message.
    """
    found = cues(video, segments, source, confidence=confidence)
    lines = [f"{clock(cue.begin_ms)} --> {clock(cue.end_ms)}\n{escaped(cue.text)}\n" for cue in found]
    return "\n".join(["WEBVTT", "", *lines])


def subrip(video: LabelledVideo, segments: Segments, source: str, *, confidence: bool = False) -> str:
    """The same as the text of a SubRip file (.srt)."""
    found = cues(video, segments, source, confidence=confidence)
    return "\n".join(
        f"{number}\n{clock(cue.begin_ms, ',')} --> {clock(cue.end_ms, ',')}\n{_plain(cue.text, _LOOKALIKES)}\n"
        for number, cue in enumerate(found, start=1)
    )


def cues(video: LabelledVideo, segments: Segments, source: str, *, confidence: bool) -> Iterator[Cue]:
    """The segments, and `unsure` where there is no label for want of confidence, in order."""
    start_s, end_s = players_times(video, source)
    unsure = unsure_stretches(video)
    texts = [*_texts(video, segments, confidence=confidence), *[UNSURE] * len(unsure)]
    first, last = (np.append(*pair) for pair in ((segments.first, unsure.first), (segments.last, unsure.last)))
    begins, ends = milliseconds(start_s[first]).tolist(), milliseconds(end_s[last]).tolist()
    for at in np.argsort(first, kind="stable"):
        yield Cue(begins[at], max(ends[at], begins[at] + 1), texts[at])


def _texts(video: LabelledVideo, segments: Segments, *, confidence: bool) -> list[str]:
    names = [video.classes[label] for label in segments.label.tolist()]
    if not confidence:
        return names
    sure = confidences(video, segments)
    return [name if np.isnan(own) else f"{name} {100 * own:.0f} %" for name, own in zip(names, sure, strict=True)]


def milliseconds(time_s: np.ndarray) -> np.ndarray:
    """Seconds as whole milliseconds, so that a segment ends exactly where the next begins."""
    whole: np.ndarray = np.rint(np.maximum(time_s, 0) * 1000).astype(np.int64)
    return whole


def clock(time_ms: int, point: str = ".") -> str:
    """`00:01:02.345`."""
    minutes, rest = divmod(time_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def escaped(text: str) -> str:
    """Text on one line that no parser takes for markup; a cue must not be empty."""
    return _plain(text, _ESCAPES)


def _plain(text: str, escapes: dict[int, str]) -> str:
    return plain_text(text).translate(escapes)
