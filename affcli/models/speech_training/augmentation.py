"""Random changes to speech for training: how the same words would sound in another recording.

Rooms, noise of any colour, narrow bands (telephones, old microphones), and loudness; one sound at a time, as waveforms.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, resample_poly, sosfiltfilt

Samples = NDArray[np.float32]
Floats = NDArray[np.float64]
Random = np.random.Generator

# Probabilities at strength 1.
_ROOM, _NOISE, _NARROW, _CODED = 0.3, 0.5, 0.35, 0.3
_ECHO_S: Final = (0.15, 0.8)  # until it has fallen by 60 dB
_DIRECT_DB: Final = (-3.0, 12.0)  # of the direct sound over the echo
_SNR_DB: Final = (3.0, 30.0)
_SLOPE: Final = (0.0, 2.0)  # of noise: power ∝ 1 / frequency to this: white, pink, brown
_LOW_HZ, _HIGH_HZ = (180.0, 400.0), (3000.0, 4000.0)  # the ends of a telephone's band
_TELEPHONE: Final = 0.65  # of the narrow bands; the others only lack what is above 3 to 7.5 kHz
_TELEPHONE_HZ: Final = 8000
_MU: Final = 255  # of the mu-law of ITU-T G.711
_LOUDER_DB: Final = (-24.0, 6.0)


def changed(samples: Samples, rate_hz: int, strength: float, random: Random) -> Samples:
    """A sound [n] in another recording; `strength` scales how often each change is made, 0 leaves everything as it is.

    Speech that fills the whole scale is cut off there, as recorders do.
    """
    if strength == 0:
        return samples
    sound = samples.astype(np.float64)
    if random.random() < strength * _ROOM:
        sound = in_a_room(sound, rate_hz, random)
    if random.random() < strength * _NOISE:
        sound = noisy(sound, random.uniform(*_SNR_DB), random)
    if random.random() < strength * _NARROW:
        sound = narrowed(sound, rate_hz, random)
    sound *= 10 ** (strength * random.uniform(*_LOUDER_DB) / 20)
    return np.asarray(sound.clip(-1, 1), np.float32)


def in_a_room(sound: Floats, rate_hz: int, random: Random) -> Floats:
    """With an echo: noise that decays exponentially."""
    echo_s = random.uniform(*_ECHO_S)
    time_s = np.arange(int(echo_s * rate_hz)) / rate_hz
    tail = random.standard_normal(len(time_s)) * 10 ** (-3 * time_s / echo_s)
    tail *= 10 ** (-random.uniform(*_DIRECT_DB) / 20) / np.sqrt((tail**2).sum())
    return np.asarray(sound + fftconvolve(sound, tail)[: len(sound)])


def noisy(sound: Floats, snr_db: float, random: Random) -> Floats:
    """With noise at a ratio of the whole sound's power to the noise's."""
    spectrum = np.fft.rfft(random.standard_normal(len(sound)))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (random.uniform(*_SLOPE) / 2)
    noise = np.fft.irfft(spectrum, len(sound))
    level = np.sqrt((sound**2).mean() / max((noise**2).mean(), 1e-20)) * 10 ** (-snr_db / 20)
    return np.asarray(sound + level * noise)


def narrowed(sound: Floats, rate_hz: int, random: Random) -> Floats:
    """Through a band; the steepness varies, and some telephones code what they carry."""
    top = 0.49 * rate_hz
    if random.random() < _TELEPHONE:
        band = random.uniform(*_LOW_HZ), min(random.uniform(*_HIGH_HZ), top)
        filters = butter(int(random.integers(2, 9)), band, "bandpass", fs=rate_hz, output="sos")
    else:
        filters = butter(int(random.integers(2, 9)), min(random.uniform(3000, 7500), top), fs=rate_hz, output="sos")
    heard = np.asarray(sosfiltfilt(filters, sound, padlen=min(len(sound) - 1, rate_hz // 10)))
    return coded(heard, rate_hz) if random.random() < _CODED else heard


def coded(sound: Floats, rate_hz: int) -> Floats:
    """Eight bits per sample at 8 kHz, as mu-law telephony has them (ITU-T G.711, without its segments)."""
    peak = max(float(np.abs(sound).max()), 1e-9)
    line = resample_poly(sound / peak, _TELEPHONE_HZ, rate_hz).clip(-1, 1)
    levels = np.round((np.sign(line) * np.log1p(_MU * np.abs(line)) / np.log1p(_MU) + 1) * 127.5) / 127.5 - 1
    heard = np.sign(levels) * np.expm1(np.abs(levels) * np.log1p(_MU)) / _MU
    found = resample_poly(heard, rate_hz, _TELEPHONE_HZ)[: len(sound)] * peak
    return np.pad(found, (0, len(sound) - len(found)))
