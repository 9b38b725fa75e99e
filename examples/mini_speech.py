"""Emotional speech for training: reading Emo-DB, changing sounds at random, and what describes a second of speech."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from scipy.signal import resample_poly

Tensor = torch.Tensor

RATE = 16_000
EMOTIONS = {"N": "Neutral", "W": "Anger", "E": "Disgust", "A": "Fear", "F": "Happiness", "T": "Sadness"}
NAMES = list(EMOTIONS.values())
BOREDOM = "L"
UNKNOWN = -1

STRETCH = 25_600  # samples that one training example holds: 1.6 s
JUDGED = 64_000  # samples of a sound that is judged: 4 s
FIELD, HOP, BINS = 400, 320, 64  # samples of a step, between steps; bins of the mel spectrum
SECOND, APART = 50, 14  # steps that are described and named as one; steps from one such second to the next
LONGEST_LAG, SHORTEST_LAG = 267, 32  # samples of a pitch period: 60 to 500 Hz


@dataclass(frozen=True)
class Speech:
    """`samples` float32 [n, longest], repeated to the end; `label` [n] into NAMES or UNKNOWN; `speaker` [n]."""

    samples: Tensor
    label: Tensor
    speaker: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Speech:
        known = {*EMOTIONS, BOREDOM}
        files = [file for file in sorted(folder.rglob("*.wav")) if len(file.stem) == 7 and file.stem[5] in known]
        if not files:
            raise SystemExit(f"{folder}: no SSTTTEv.wav of Emo-DB in it")
        sounds = [_read(file) for file in files]
        longest = max(JUDGED, *map(len, sounds))
        samples = np.stack([np.resize(sound, longest) for sound in sounds])
        labels = [NAMES.index(EMOTIONS[file.stem[5]]) if file.stem[5] in EMOTIONS else UNKNOWN for file in files]
        return cls(torch.from_numpy(samples), torch.tensor(labels), np.array([file.stem[:2] for file in files]))

    def of(self, speakers: Sequence[str], *, labelled: bool = False) -> Speech:
        chosen = np.isin(self.speaker, speakers)
        if labelled:
            chosen &= (self.label != UNKNOWN).numpy()
        return Speech(
            self.samples[torch.from_numpy(chosen)], self.label[torch.from_numpy(chosen)], self.speaker[chosen]
        )

    @property
    def speakers(self) -> list[str]:
        return sorted(set(self.speaker))


def _read(file: Path) -> np.ndarray:
    samples, rate = soundfile.read(file, dtype="float32")
    common = math.gcd(rate, RATE)
    return np.asarray(resample_poly(samples, RATE // common, rate // common), np.float32)


def normalised(samples: Tensor) -> Tensor:
    """As Wav2Vec2FeatureExtractor does with `do_normalize`."""
    return (samples - samples.mean(1, keepdim=True)) / (samples.var(1, keepdim=True, unbiased=False) + 1e-7).sqrt()


def changed(samples: Tensor, random: torch.Generator) -> Tensor:
    """A stretch [n, STRETCH] of each sound: from anywhere, faster or slower, through some room, with some noise."""
    count, length = samples.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=random)

    speed = torch.exp(uniform(-0.14, 0.14))
    start = uniform(0, 1) * (length - 1 - STRETCH * speed).clamp(min=0)
    at = (start + speed * torch.arange(STRETCH)).clamp(max=length - 2)
    whole = at.long()
    sounds = torch.lerp(samples.gather(1, whole), samples.gather(1, whole + 1), at - whole)
    tilt = uniform(-0.6, 0.6)  # of the spectrum: x[t] + tilt · x[t − 1]
    sounds = sounds + tilt * F.pad(sounds, (1, -1))
    noise = torch.randn(count, STRETCH, generator=random)
    colour = uniform(0, 1)
    noise = noise + colour * F.pad(noise, (1, -1)) + colour * F.pad(noise, (2, -2))
    level = sounds.std(1, keepdim=True) / noise.std(1, keepdim=True) * 10 ** (-uniform(8, 40) / 20)
    return normalised(sounds + level * noise)


def mel_filters() -> Tensor:
    """Triangles [bins, 257] from 60 to 7600 Hz, evenly spaced on the mel scale (O'Shaughnessy 1987)."""
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([60, 7600]) / 700)), BINS + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, 257)
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    return torch.tensor(np.clip(np.minimum(rising, falling), 0, None), dtype=torch.float32)


def spectra(samples: Tensor, filters: Tensor) -> Tensor:
    """Log-mel power [n, steps, bins], a step for each of the encoder's."""
    steps = samples.unfold(1, FIELD, HOP) * torch.hann_window(FIELD)
    power = torch.fft.rfft(steps, 512).abs() ** 2
    return (power @ filters.T + 1e-2).log()


def pitch(samples: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Log of the frequency whose period repeats most, and how much it does (a correlation): both [n, steps]."""
    fields = samples.unfold(1, 2 * HOP, HOP)[:, :steps] * torch.hann_window(2 * HOP)
    repeats = torch.fft.irfft(torch.fft.rfft(fields, 2048).abs() ** 2)
    repeats = repeats / repeats[..., :1].clamp(min=1e-3)
    most, lag = repeats[..., SHORTEST_LAG:LONGEST_LAG].max(-1)
    missing = (0, steps - most.shape[1])  # the last field is longer than the sound
    return F.pad((RATE / (lag + SHORTEST_LAG).float()).log(), missing), F.pad(most, missing)


def described(samples: Tensor, filters: Tensor) -> Tensor:
    """[n, seconds, 3 · BINS + 4]: spectrum, its deviation and change; mean and deviation of pitch, voicing twice."""

    def by_second(values: Tensor) -> Tensor:  # [n, steps, k] → [n, seconds, k, SECOND]
        return values.unfold(1, SECOND, APART)

    spectrum = spectra(samples, filters)
    change = F.pad((spectrum[:, 1:] - spectrum[:, :-1]).abs(), (0, 0, 1, 0))
    log_hertz, repeats = pitch(samples, spectrum.shape[1])
    voiced = ((repeats > 0.4) & (spectrum.mean(2) > -1)).float()
    steps = by_second(torch.stack([log_hertz * voiced, log_hertz**2 * voiced, voiced, repeats], -1)).mean(-1)
    share = steps[..., 2].clamp(min=1e-6)
    mean = torch.where(steps[..., 2] > 0, steps[..., 0] / share, 5.0)  # 150 Hz where nothing is voiced
    deviation = (steps[..., 1] / share - mean**2).clamp(min=0).sqrt()
    of_pitch = torch.stack([mean, deviation, steps[..., 2], steps[..., 3]], -1)
    seconds = by_second(spectrum)
    return torch.cat([seconds.mean(-1), seconds.std(-1), by_second(change).mean(-1), of_pitch], -1)
