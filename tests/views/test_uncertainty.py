"""What is said and drawn of frames that have probabilities but no label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affcli.schema import CLASSES
from affcli.views.elan import annotated
from affcli.views.labelled_video import LabelledVideo
from affcli.views.segments import segments_of
from affcli.views.summary import summary_row
from affcli.views.timeline import timeline
from affcli.views.uncertainty import speech_share, unsure_frames, unsure_stretches, why_unsure
from affcli.views.webvtt import captions

HAPPY = CLASSES.index("Happiness")


def ten_frames() -> LabelledVideo:
    """Happy in frames 1 to 4, unsure in 5 to 9 (no face and no speech in 8 and 9); frame 10 has no numbers."""
    label = np.array([HAPPY] * 4 + [-1] * 6)
    probability = np.full((10, 8), 0.05)
    probability[:, HAPPY] = 0.65
    probability[9] = np.nan
    start_s = np.arange(10) / 10
    face = np.array([True] * 7 + [False] * 3)
    speech = np.array([0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, np.nan])
    audio = ~np.isnan(speech)
    return LabelledVideo(
        "v", CLASSES, np.arange(1, 11), label, start_s, start_s + 0.1, probability, face, audio, None, speech=speech
    )


def test_a_frame_is_unsure_where_it_has_probabilities_and_no_label():
    video = ten_frames()
    assert np.flatnonzero(unsure_frames(video)).tolist() == [4, 5, 6, 7, 8]
    found = unsure_stretches(video)
    assert (found.first.tolist(), found.last.tolist()) == ([4], [8])
    assert not unsure_frames(replace(video, probability=None)).any()


def test_reasons_name_faces_speech_and_confidence():
    assert why_unsure(ten_frames()) == [
        "no face in 3 of 10 frames",
        "only 22 % of the sound is speech",
        "too little confidence in 3 of 10 frames",
    ]
    assert speech_share(ten_frames()) == pytest.approx(0.2)


def test_a_few_unsure_frames_are_no_problem():
    video = ten_frames()
    sure = replace(video, label=np.array([HAPPY] * 9 + [-1]))
    assert why_unsure(sure) == []
    assert summary_row(sure)["problem"] is None


def test_the_summary_counts_unsure_seconds_and_joins_the_reasons_to_other_problems():
    row = summary_row(ten_frames(), problem="the file is cut off")
    assert (row["Happiness_s"], row["unsure_s"], row["speech_share"]) == (0.4, 0.6, 0.2)
    assert row["problem"].startswith("the file is cut off; no face in 3 of 10 frames; only 22 %")


def test_captions_and_tiers_say_unsure_and_captions_probabilities_on_request():
    video = ten_frames()
    segments = segments_of(video)
    cues = captions(video, segments, "t", confidence=True).split("\n\n")[1:]
    assert cues[0] == "00:00:00.000 --> 00:00:00.400\nHappiness 65 %"
    assert cues[1].rstrip() == "00:00:00.400 --> 00:00:00.900\nunsure"
    assert "65" not in captions(video, segments, "t")
    tiers = [(one.tier, one.begin_ms, one.end_ms) for one in annotated(video, segments, "t")]
    assert ("unsure", 400, 900) in tiers


def test_a_timeline_tells_unsure_columns_from_empty_ones():
    found = timeline(ten_frames(), 100)
    assert found.unsure.tolist() == [False] * 4 + [True] * 5 + [False]
