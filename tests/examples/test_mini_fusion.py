"""The made-up videos that the small fusion network is trained on (examples/mini_sequences.py)."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from affcli.schema import CLASSES

FRAMES = 1200


@pytest.fixture(scope="module")
def sequences() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "mini_sequences.py"
    spec = importlib.util.spec_from_file_location("mini_sequences", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plans(sequences: ModuleType) -> list:
    random, heard = np.random.default_rng(0), sequences.hearing(None)
    return [sequences.plan(random, FRAMES, heard) for _ in range(400)]


def test_segments_fill_the_video_and_neighbours_differ(plans: list) -> None:
    for plan in plans:
        assert (plan[0].start, plan[-1].stop) == (0, FRAMES)
        for one, other in itertools.pairwise(plan):
            assert one.stop == other.start
            assert one.label != other.label


def test_neither_silence_nor_a_missing_face_tells_the_class(plans: list) -> None:
    parts = [part for plan in plans for part in plan]
    for label in range(len(CLASSES)):
        own = [part for part in parts if part.label == label]
        assert np.mean([part.speech is None for part in own]) == pytest.approx(0.2, abs=0.06)
        assert np.mean([part.face for part in own]) == pytest.approx(0.93, abs=0.04)


def test_speech_is_of_the_class_that_is_heard_for_it(sequences: ModuleType, plans: list) -> None:
    spoken = len(sequences.SPOKEN)
    honest = [part for plan in plans for part in plan if part.speech is not None and part.label < spoken]
    assert all(part.speech == part.label for part in honest)
    always_fear = np.zeros((spoken, spoken))
    always_fear[:, CLASSES.index("Fear")] = 5
    plan = sequences.plan(np.random.default_rng(0), FRAMES, sequences.hearing(always_fear))
    swapped = {part.speech for part in plan if part.speech is not None and part.label < spoken}
    assert swapped == {CLASSES.index("Fear")}


def test_what_nobody_speaks_is_heard_as_any_class(plans: list, sequences: ModuleType) -> None:
    others = [part.speech for plan in plans for part in plan if part.label >= len(sequences.SPOKEN)]
    assert set(others) == {None, *range(len(sequences.SPOKEN))}


def test_pictures_are_of_their_segments_class_and_stay_inside_it(sequences: ModuleType, plans: list) -> None:
    random, labels = np.random.default_rng(0), np.repeat(np.arange(len(CLASSES)), 5)
    deck = sequences.Deck(random, labels)
    for plan in plans[:20]:
        shown = list(sequences.shows(random, plan, deck))
        for span in shown:
            [segment] = [part for part in plan if part.start <= span.start < part.stop]
            assert span.stop <= segment.stop
            assert segment.face
            assert labels[span.picture] == segment.label
            assert len(span.features(np.ones((sequences.VARIANTS, 3), np.float16))) == span.stop - span.start
        assert sum(span.stop - span.start for span in shown) == sum(p.stop - p.start for p in plan if p.face)


def test_a_deck_gives_every_picture_once_before_any_again(sequences: ModuleType) -> None:
    labels = np.repeat(np.arange(len(CLASSES)), 3)
    deck = sequences.Deck(np.random.default_rng(0), labels)
    drawn = [deck.draw(2) for _ in range(6)]
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == [6, 7, 8]


def test_silent_segments_hold_noise_only(sequences: ModuleType) -> None:
    random, rate = np.random.default_rng(0), sequences.RATE
    loud = np.random.default_rng(1).standard_normal(2 * rate).astype(np.float32)
    voices = sequences.Voices({("03", 0): [loud]})
    segments = [sequences.Segment(0, 120, 0, True, 0), sequences.Segment(120, 240, 1, True, None)]
    sound = sequences.sound_of(random, segments, voices, "03")
    assert len(sound) == 240 * rate // sequences.FPS
    assert np.abs(sound).max() <= 1
    speech, silence = sound[rate : 3 * rate].std(), sound[5 * rate :].std()
    assert 0 < silence < 0.4 * speech
