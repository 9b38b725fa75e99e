"""Where somebody speaks. Real speech comes from the shared clips; the rest is made here."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.media_fixtures import shared_clip

from affcli.media.audio import open_sound
from affcli.media.speech import SAMPLE_RATE_HZ, SpeechDetector, centres_s

RATE = SAMPLE_RATE_HZ


def sounds() -> dict[str, np.ndarray]:
    random, time_s = np.random.default_rng(0), np.arange(4 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * tone * time_s) for tone in (220, 277, 330)) * np.exp(-(time_s % 0.5) * 4)
    return {
        "silence": np.zeros(4 * RATE),
        "white noise": random.standard_normal(4 * RATE) * 0.1,
        "hum": np.sin(2 * np.pi * 50 * time_s) * 0.3,
        "chords": tones / 4,
    }


@pytest.mark.parametrize("name", list(sounds()))
def test_what_nobody_says_is_no_speech(name):
    found = SpeechDetector().probabilities(sounds()[name].astype(np.float32))
    assert found.shape == (125,)
    assert found.mean() < 0.05


def test_steps_are_of_32_ms_and_the_last_is_filled_up():
    detector = SpeechDetector()
    assert [len(detector.probabilities(np.zeros(n, np.float32))) for n in (0, 1, 512, 513)] == [0, 1, 1, 2]
    assert centres_s(2).tolist() == [0.016, 0.048]


def test_sound_at_another_rate_is_resampled():
    assert len(SpeechDetector(48_000).probabilities(np.zeros(48_000, np.float32))) == len(
        SpeechDetector().probabilities(np.zeros(16_000, np.float32))
    )


def test_people_are_heard_to_speak_and_a_step_does_not_depend_on_what_follows():
    with open_sound(shared_clip("1001_DFA_ANG_XX.flv"), sample_rate_hz=RATE) as pieces:
        samples = next(iter(pieces)).samples
    detector = SpeechDetector()
    whole, half = detector.probabilities(samples), detector.probabilities(samples[: 40 * 512])
    assert whole.max() > 0.9
    np.testing.assert_allclose(whole[:40], half, atol=1e-5)
