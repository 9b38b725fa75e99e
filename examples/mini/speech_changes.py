"""What changes speech on its way to an encoder, done to power spectrograms: rooms, noise, telephones, codecs, loudness.

All of it is cheap there: a room is a decaying tail in every bin, noise adds to the power, an equaliser multiplies it.
Judging is done on changed waveforms (`speech.py judge`).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from speech_data import BINS, FLOOR, RATE, log_mel
from transformers.audio_utils import hertz_to_mel, mel_to_hertz

Tensor = torch.Tensor

_FULL_SCALE: Final = 3.75  # power in a bin, of white noise whose samples have variance 1
_TAIL: Final = 60  # frames of a room's echo
_TELEPHONE: Final = ((3000, 4000), (180, 400))  # Hz, upper and lower end of the band
_SLOPES: Final = (0.0, -1.0, -2.0, 1.0)  # of noise: power ∝ frequency to this: white, pink, brown, blue
_BUMP, _BABBLE = 4, 5  # kinds of noise besides

_EDGES: Final = torch.tensor(mel_to_hertz(np.linspace(0, hertz_to_mel(8000.0, "slaney"), BINS + 2), "slaney")).float()
_CENTRES: Final = _EDGES[1:-1]  # Hz, of the bins
_WIDTHS: Final = (_EDGES[2:] - _EDGES[:-2]) / (_EDGES[2:] - _EDGES[:-2]).sum()
_OCTAVES: Final = (_CENTRES / 1000).log2()


@cache
def _white() -> Tensor:
    """[frames, 80]: the power of 90 s of white noise, its mean 1 in each bin."""
    samples = np.random.default_rng(0).standard_normal(90 * RATE).astype(np.float32)
    power = 10 ** torch.from_numpy(log_mel(samples))
    return power / power.mean(0)


class Changes:
    """Changes batches at random; `random` decides how."""

    def __init__(self, random: torch.Generator) -> None:
        self._random, self._white = random, _white()

    def __call__(self, power: Tensor, heard: Tensor) -> Tensor:
        """`power` [n, frames, 80] and which frames hold speech [n, frames] → log10 of the changed power."""
        power = self._equalised(self._in_a_room(self._warped(power)))
        power = self._noisy(power, heard, some=self._some(power, 0.55), snr=(3, 30))
        narrow = self._some(power, 0.45)
        before = self._some(power, 0.5)  # the band is that of the line, or of the microphone before it
        power = self._coded(self._band_limited(power, some=narrow & before), some=before)
        power = self._band_limited(self._coded(power, some=~before), some=narrow & ~before)
        later = self._some(power, 0.5) & ~(narrow & self._some(power, 0.6))  # a narrow band may be empty outside
        power = self._noisy(power, heard, some=later, snr=(25, 55))
        loudness = 10 ** (self._between(-45, -12, len(power)) / 10) * _FULL_SCALE / _level(power, heard)
        return (power * loudness[:, None, None]).clamp(min=FLOOR).log10()

    def _between(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self._random)

    def _some(self, batch: Tensor, share: float) -> Tensor:
        """[n]: which are changed."""
        return torch.rand(len(batch), generator=self._random) < share

    def _warped(self, power: Tensor) -> Tensor:
        """Frequencies times 0.92 to 1.08: other vocal tracts."""
        factor = 1 + self._between(-0.08, 0.08, len(power)) * self._some(power, 0.5)
        source = (_CENTRES * factor[:, None]).clamp(_CENTRES[0], _CENTRES[-1] - 1)
        above = torch.searchsorted(_CENTRES, source.contiguous(), right=True).clamp(1, BINS - 1)
        weight = (source - _CENTRES[above - 1]) / (_CENTRES[above] - _CENTRES[above - 1])
        low, high = (
            power.log().gather(2, index[:, None].expand(-1, power.shape[1], -1)) for index in (above - 1, above)
        )
        return (low * (1 - weight[:, None]) + high * weight[:, None]).exp()

    def _in_a_room(self, power: Tensor) -> Tensor:
        """An exponential tail of 0.15 to 0.8 s (to −60 dB), 3 dB above to 12 dB below the direct sound."""
        n, time_s = len(power), torch.arange(_TAIL) * 0.01
        some = self._some(power, 0.3)
        tail = torch.exp(-13.8 * time_s / self._between(0.15, 0.8, n, 1))
        tail[:, 0] = 0
        tail *= some[:, None] * 10 ** (-self._between(-3, 12, n, 1) / 10) / tail.sum(1, keepdim=True)
        tail[:, 0] = 1
        before = F.pad(power.permute(2, 0, 1), (_TAIL - 1, 0))
        return F.conv1d(before, tail.flip(1)[:, None], groups=n).permute(1, 2, 0)

    def _equalised(self, power: Tensor) -> Tensor:
        n, place = len(power), torch.linspace(-1, 1, BINS)
        waves = torch.cos(math.pi * self._between(0.5, 4, n, 1) * place + self._between(0, 2 * math.pi, n, 1))
        decibels = self._between(-6, 6, n, 1) * place + self._between(-4, 4, n, 1) * waves
        return power * 10 ** (decibels * self._some(power, 0.7)[:, None] / 10)[:, None]

    def _noisy(self, power: Tensor, heard: Tensor, *, some: Tensor, snr: tuple[float, float]) -> Tensor:
        """White, pink, brown, blue or narrow noise, or the others of the batch talking at once."""
        n = len(power)
        kind = torch.randint(0, 6, (n,), generator=self._random)
        shape = 2 ** (torch.tensor([*_SLOPES, 0.0, 0.0])[kind][:, None] * _OCTAVES)
        place, width = self._between(-2, 3, n, 1), self._between(0.3, 1.5, n, 1)
        narrow = 0.01 + torch.exp(-(((_OCTAVES - place) / width) ** 2) / 2)
        noise = self._noise(power) * torch.where((kind == _BUMP)[:, None], narrow, shape)[:, None]
        noise = torch.where((kind == _BABBLE)[:, None, None], self._babble(power), noise)
        level = _level(power, heard) / _level(noise, heard) * 10 ** (-self._between(*snr, n) / 10)
        return power + noise * (level * some)[:, None, None]

    def _babble(self, power: Tensor) -> Tensor:
        one, other, third = (torch.randperm(len(power), generator=self._random) for _ in range(3))
        return power[one] + power[other].flip(1) + power[third].roll(power.shape[1] // 2, 1)

    def _noise(self, like: Tensor) -> Tensor:
        n, frames = like.shape[:2]
        begins = torch.randint(0, len(self._white) - frames, (n,), generator=self._random)
        return torch.stack([self._white[begin : begin + frames] for begin in begins.tolist()])

    def through_a_telephone(self, power: Tensor) -> Tensor:
        """log10 of the power with a telephone's band, at another loudness and with nothing else changed."""
        every = torch.ones(len(power), dtype=torch.bool)
        loudness = 10 ** (0.4 * torch.randn(len(power), 1, 1, generator=self._random))
        narrow = self._band_limited(power * loudness, some=every, telephones=0.85)
        return narrow.clamp(min=FLOOR).log10()

    def _band_limited(self, power: Tensor, *, some: Tensor, telephones: float = 0.65) -> Tensor:
        """A telephone's band, or all above 3 to 7.5 kHz gone: by 30 to 400 dB per octave, until 25 to 120 dB are."""
        n, telephone = len(power), self._some(power, telephones)
        (top_low, top_high), (bottom_low, bottom_high) = _TELEPHONE
        top = torch.where(telephone, self._between(top_low, top_high, n), self._between(3000, 7500, n))
        bottom = torch.where(telephone, self._between(bottom_low, bottom_high, n), torch.ones(n))
        octaves = torch.maximum((_CENTRES / top[:, None]).log2(), (bottom[:, None] / _CENTRES).log2()).clamp(min=0)
        slope, depth = 10 ** self._between(1.5, 2.6, n, 1), self._between(25, 120, n, 1)
        lost = torch.minimum(octaves * slope, depth) * some[:, None]
        return power * 10 ** (-lost / 10)[:, None]

    def _coded(self, power: Tensor, *, some: Tensor) -> Tensor:
        """Noise that follows the signal from frame to frame, 12 to 35 dB below it, in a fifth of `some`."""
        share = (some & self._some(power, 0.2)) * 10 ** (-self._between(12, 35, len(power)) / 10)
        return power + self._noise(power) * ((power * _WIDTHS).sum(2) * share[:, None])[:, :, None]

    def masked(self, spectra: Tensor, *, share: float = 0.5) -> Tensor:
        """SpecAugment, in place: a few bins, and a few frames, become the mean of their spectrogram [n, frames, 80]."""
        for spectrum in spectra:
            for axis, least, most in ((1, 2, 12), (0, 5, 40)):
                if torch.rand((), generator=self._random) < share:
                    width = int(torch.randint(least, most, (), generator=self._random))
                    begin = int(torch.randint(0, max(1, spectrum.shape[axis] - width), (), generator=self._random))
                    spectrum.narrow(axis, begin, min(width, spectrum.shape[axis] - begin)).fill_(spectrum.mean())
        return spectra


def _level(power: Tensor, heard: Tensor) -> Tensor:
    """[n]: the mean power of the frames that hold speech."""
    return (((power * _WIDTHS).sum(2) * heard).sum(1) / heard.sum(1).clamp(min=1)).clamp(min=1e-20)
