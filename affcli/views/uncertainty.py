"""Where a labelled video is unsure, and why: frames that have probabilities but, for want of confidence, no label."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import counted
from affcli.predictions.naming import MIN_SPEECH
from affcli.views.labelled_video import NO_LABEL, LabelledVideo
from affcli.views.segments import Segments, runs

UNSURE: Final = "unsure"  # what is written where a frame has no label
_WORTH_SAYING: Final = 0.1  # share of the frames that are unsure, or that lack a face, from which reasons are given
_MUCH_SPEECH: Final = 0.25  # share of the sound from which it is not said that little of it is speech

Flags = NDArray[np.bool_]


def unsure_frames(video: LabelledVideo) -> Flags:
    """Which frames have probabilities and no label, bool [n]."""
    if video.probability is None:
        return np.zeros(len(video.label), bool)
    return np.asarray((video.label == NO_LABEL) & ~np.isnan(video.probability).all(axis=1))


def unsure_stretches(video: LabelledVideo) -> Segments:
    """The runs of unsure frames, as segments of label 0."""
    found = runs((~unsure_frames(video)).astype(np.int64), np.diff(video.frame) != 1)
    return Segments(*(part[found.label == 0] for part in (found.first, found.last, found.label)))


def speech_share(video: LabelledVideo) -> float | None:
    """The share of the frames in which somebody speaks; None where the table does not say."""
    if video.speech is None or not video.speech.size:
        return None
    return float((video.speech >= MIN_SPEECH).mean())


def why_unsure(video: LabelledVideo) -> list[str]:
    """The reasons for which frames are unsure, a phrase each; none where fewer than a tenth of them are."""
    unsure = unsure_frames(video)
    count = len(unsure)
    if not count or unsure.mean() < _WORTH_SAYING:
        return []
    doubtful = unsure & _evidence(video)
    found = [_no_face(video), _no_speech(video)]
    if doubtful.any():
        found.append(f"too little confidence in {doubtful.sum():,} of {counted(count, 'frame')}")
    return [reason for reason in found if reason]


def _evidence(video: LabelledVideo) -> Flags:
    """Which frames have a face or speech, as far as the table tells."""
    if video.face is None or video.speech is None:
        return np.ones(len(video.label), bool)
    return np.asarray(video.face | (video.speech >= MIN_SPEECH))


def _no_face(video: LabelledVideo) -> str:
    if video.face is None or (~video.face).mean() < _WORTH_SAYING:
        return ""
    return f"no face in {(~video.face).sum():,} of {counted(len(video.face), 'frame')}"


def _no_speech(video: LabelledVideo) -> str:
    """What the sound lacks: itself, or speech in most of it."""
    if video.audio is None or video.speech is None:
        return ""
    if not video.audio.any():
        return "no sound"
    share = float((video.speech[video.audio] >= MIN_SPEECH).mean())
    if share >= _MUCH_SPEECH:
        return ""
    return f"only {100 * share:.0f} % of the sound is speech" if share else "no speech in the sound"
