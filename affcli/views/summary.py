"""What a labelled video comes to, in one row: seconds a class, its longest segments, how much was seen and heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.schema import CLASSES
from affcli.views.labelled_video import LabelledVideo
from affcli.views.segments import Segments, segments_of
from affcli.views.uncertainty import UNSURE, speech_share, why_unsure

_DIGITS: Final = 6  # of seconds and shares: what is behind them is rounding of binary numbers

LONGEST, LONGEST_NON_NEUTRAL = "longest", "longest_non_neutral"


def summary_schema(classes: Sequence[str] = CLASSES) -> pa.Schema:
    """A row a video. Seconds are null without times; `CLASS_s` and `unsure_s`, of frames without a label, sum to
    `duration_s`.

    `longest_…` is the longest segment, the first of equals, `longest_non_neutral_…` the longest that is not Neutral;
    `mean_confidence` the mean of the largest probability over frames that have any; `problem` says why frames may be
    missing, and why many are unsure.
    """
    seconds = [f"{name}_s" for name in (*classes, UNSURE)]
    numbers = ["face_share", "sound_share", "speech_share", "mean_confidence", *seconds]
    fields = [pa.field("video", pa.string(), nullable=False), pa.field("frames", pa.int32(), nullable=False)]
    fields += [pa.field(name, pa.float64()) for name in ("duration_s", *numbers)]
    for which in (LONGEST, LONGEST_NON_NEUTRAL):
        fields.append(pa.field(f"{which}_label", pa.string()))
        fields += [pa.field(f"{which}_{end}_s", pa.float64()) for end in ("start", "end")]
    return pa.schema([*fields, pa.field("problem", pa.string())])


def summary_row(video: LabelledVideo, *, problem: str | None = None) -> dict[str, Any]:
    """One video's row, by column."""
    segments = segments_of(video)
    neutral = video.classes.index(CLASSES[0]) if CLASSES[0] in video.classes else -1
    return {
        "video": video.video,
        "frames": len(video.frame),
        **_seconds(video),
        "face_share": _share(video.face),
        "sound_share": _share(video.audio),
        "speech_share": None if (speech := speech_share(video)) is None else round(speech, _DIGITS),
        "mean_confidence": _mean_confidence(video.probability),
        **_longest(video, segments, segments.label >= 0, LONGEST),
        **_longest(video, segments, segments.label != neutral, LONGEST_NON_NEUTRAL),
        "problem": "; ".join(filter(None, [problem, *why_unsure(video)])) or None,
    }


def _seconds(video: LabelledVideo) -> Mapping[str, float | None]:
    names = ["duration_s", *(f"{name}_s" for name in (*video.classes, UNSURE))]
    if video.start_s is None or video.end_s is None:
        return dict.fromkeys(names)
    length_s = video.end_s - video.start_s
    count = len(video.classes)
    by_class = np.bincount(np.where(video.label < 0, count, video.label), length_s, count + 1)
    return {name: _rounded(value) for name, value in zip(names, [length_s.sum(), *by_class], strict=True)}


def _share(flags: NDArray[np.bool_] | None) -> float | None:
    return None if flags is None or not flags.size else _rounded(flags.mean())


def _mean_confidence(probability: NDArray[np.float64] | None) -> float | None:
    if probability is None:
        return None
    largest = np.fmax.reduce(probability, axis=1)
    known = largest[~np.isnan(largest)]
    return _rounded(known.mean()) if known.size else None


def _longest(
    video: LabelledVideo, segments: Segments, counts: NDArray[np.bool_], which: str
) -> Mapping[str, str | float | None]:
    """Label, start and end of the longest of the segments that count; in frames where there are no times."""
    names = [f"{which}_{what}" for what in ("label", "start_s", "end_s")]
    at = np.flatnonzero(counts)
    if not at.size:
        return dict.fromkeys(names)
    first, last = segments.first[at], segments.last[at]
    if video.start_s is None or video.end_s is None:
        longest = int(np.argmax(last - first))
        return dict(zip(names, (video.classes[segments.label[at[longest]]], None, None), strict=True))
    start_s, end_s = video.start_s[first], video.end_s[last]
    longest = int(np.argmax(np.round(end_s - start_s, _DIGITS)))
    label = video.classes[segments.label[at[longest]]]
    return dict(zip(names, (label, _rounded(start_s[longest]), _rounded(end_s[longest])), strict=True))


def _rounded(number: np.floating[Any]) -> float:
    return round(float(number), _DIGITS)
