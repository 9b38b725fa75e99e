"""What the fusion network of `mini` is trained on: voices and faces of which people said what they show.

CREMA-D's people judged each clip by voice, by face and by both. A made-up moment has a clip's own sound, pictures of
FERPlus whose votes are nearest to what people saw in the clip's face, and what they said of both as its target: so how
voice and face go together is observed, not invented. Features of sound are *out of fold*: from encoders that never
heard the speaker, else the network would learn to trust voices more than it should.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.signal import butter, resample_poly, sosfiltfilt

from affcli.media.speech import SpeechDetector, centres_s
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.extract.audio_features import StepMeans
from affcli.schema import CLASSES

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Random = np.random.Generator

RATE: Final = 16_000
GRID_HZ: Final = 10  # features of sound are kept at this rate and interpolated
CONTEXT_S: Final = 0.5
LETTERS: Final = "NADFHS"  # of the six classes in the tables of votes, in affcli's order
VOICE, FACE, BOTH = 1, 2, 3  # the first digit of a row's number: by what people judged
TEST: Final = tuple(range(1001, 1011))  # actors that no network has heard or will hear
CHOICE: Final = tuple(range(1011, 1021))  # actors on whom all is chosen and the temperature is fitted
TWINS: Final = {"1006_TIE_HAP", "1006_TIE_NEU", "1013_WSI_DIS", "1013_WSI_SAD", "1017_IWW_ANG", "1017_IWW_FEA"}
CHANGED: Final = 0.4  # share of the clips that sound like another recording
VARIANTS: Final = 3  # of a picture
PICTURES_OF_A_CLASS: Final = 800  # at most
PICTURES_AT_ONCE: Final = 32
MARGIN: Final = 8  # pixels by which a picture's edge is repeated, so that moving it leaves no black


# --- votes -----------------------------------------------------------------------------------------------------------


def votes(file: Path) -> dict[str, NDArray[np.float64]]:
    """Clip → [3, 8]: the shares of what people said by voice, by face and by both; clips judged all three ways."""
    counts: dict[str, NDArray[np.float64]] = {}
    with file.open() as lines:
        for row in csv.DictReader(lines):
            if len(row[""]) == 6:
                own = counts.setdefault(row["fileName"], np.zeros((3, len(CLASSES))))
                own[int(row[""][0]) - 1, : len(LETTERS)] += [float(row[letter]) for letter in LETTERS]
    return {name: own / own.sum(1, keepdims=True) for name, own in counts.items() if (own.sum(1) > 0).all()}


# --- sound -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Voices:
    """n clips: rows begins[i] to begins[i + 1] of `features` float16 [rows, size] and `speech` float32 [rows] are clip
    i's, ten a second. `votes` [n, 3, 8]; `actor` int64 [n]; `name` [n]."""

    features: Halves
    speech: Floats
    begins: NDArray[np.int64]
    votes: NDArray[np.float64]
    actor: NDArray[np.int64]
    name: NDArray[np.str_]

    def rows(self, i: int) -> slice:
        return slice(int(self.begins[i]), int(self.begins[i + 1]))

    def save(self, file: Path) -> None:
        _save(file, vars(self))

    @classmethod
    def load(cls, *files: Path) -> Voices:
        """The clips of all files."""
        parts = [dict(np.load(file)) for file in files]
        lengths = np.concatenate([np.diff(part.pop("begins")) for part in parts])
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return cls(begins=np.cumsum([0, *lengths]), **whole)


def hear(
    files: Sequence[Path],
    said: dict[str, NDArray[np.float64]],
    encoder: AudioEncoder,
    random: Random,
) -> Voices:
    """Each clip's features; some of them are heard through noise, a narrow band or an echo."""
    detector = SpeechDetector()
    kept = [file for file in files if file.stem in said and file.stem[:12] not in TWINS]
    features, speech, begins = [], [], [0]
    for file in kept:
        samples = read_sound(file)
        samples = changed_sound(random, samples) if random.random() < CHANGED else samples
        own = on_grid(encoder, detector, samples)
        features.append(own[0].astype(np.float16))
        speech.append(own[1])
        begins.append(begins[-1] + len(own[1]))
    names = [file.stem for file in kept]
    return Voices(
        np.concatenate(features),
        np.concatenate(speech),
        np.array(begins),
        np.stack([said[name] for name in names]),
        np.array([int(name[:4]) for name in names]),
        np.array(names),
    )


def read_sound(file: Path) -> Floats:
    """Mono, 16 kHz."""
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    common = math.gcd(rate, RATE)
    return np.asarray(resample_poly(samples.mean(1), RATE // common, rate // common), np.float32)


def on_grid(encoder: AudioEncoder, detector: SpeechDetector, samples: Floats) -> tuple[Floats, Floats]:
    """Features and speech, ten a second, as `affcli label` takes them: means over half a second either side."""
    grid = np.arange(0.5 / GRID_HZ, len(samples) / RATE, 1 / GRID_HZ)
    steps, probabilities = encoder.encode(samples), detector.probabilities(samples)
    means = []
    for times_s, values in (
        (encoder.steps.centres_s(len(steps)), steps),
        (centres_s(len(probabilities)), probabilities[:, None]),
    ):
        taken = StepMeans(values.shape[1], CONTEXT_S)
        taken.add(times_s, values)
        means.append(taken.means(grid)[0])
    return means[0], means[1][:, 0]


def changed_sound(random: Random, samples: Floats) -> Floats:
    """Another recording of the same: softer or louder, in noise of any colour, through a telephone, in a room."""
    sound = samples.astype(np.float64)
    if random.random() < 0.3:
        tail = np.exp(-np.arange(RATE // 3) / (RATE * random.uniform(0.02, 0.12))) * random.standard_normal(RATE // 3)
        sound += np.convolve(sound, tail / np.abs(tail).sum() * random.uniform(1, 4))[: len(sound)]
    if random.random() < 0.6:
        noise = coloured(random, len(sound), random.uniform(0, 2))
        sound += noise * sound.std() * 10 ** (-random.uniform(5, 30) / 20)
    if random.random() < 0.3:
        band = (random.uniform(200, 350), random.uniform(3000, 3800))
        sound = sosfiltfilt(butter(3, band, "bandpass", fs=RATE, output="sos"), sound)
    return np.asarray((sound * 10 ** (random.uniform(-12, 6) / 20)).clip(-1, 1), np.float32)


def coloured(random: Random, samples: int, slope: float) -> NDArray[np.float64]:
    """Noise of standard deviation 1 whose power falls as frequency to the power of −slope: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (slope / 2)
    noise = np.fft.irfft(spectrum, samples)
    return np.asarray(noise / noise.std())


def other_sounds(encoder: AudioEncoder, random: Random, count: int) -> Halves:
    """Features [count, 20, size] of 2 s without speech each: noise, hum, tones with a beat, clicks."""
    found = []
    for number in range(count):
        sound = _OTHER[number % len(_OTHER)](random, 3 * RATE) * 10 ** (random.uniform(-45, -10) / 20)
        features, _ = on_grid(encoder, SpeechDetector(), sound.clip(-1, 1).astype(np.float32))
        found.append(features[5:25])
    return np.stack(found).astype(np.float16)


def _tones(random: Random, samples: int) -> NDArray[np.float64]:
    """Chords with a beat."""
    time_s = np.arange(samples) / RATE
    chord = random.uniform(80, 500) * 2 ** (random.choice([0, 3, 4, 7, 12, 16], 4) / 12)
    voices = [np.sin(2 * np.pi * tone * k * time_s) / k for tone in chord for k in (1, 2, 3)]
    beat = np.exp(-((time_s * random.uniform(0.8, 4)) % 1) * random.uniform(0, 5))
    return np.asarray(np.sum(voices, 0) * beat)


def _clicks(random: Random, samples: int) -> NDArray[np.float64]:
    hits = (random.random(samples) < random.uniform(2, 20) / RATE).astype(np.float64)
    return np.asarray(np.convolve(hits, np.exp(-np.arange(800) / 100) * random.standard_normal(800))[:samples] * 3)


_OTHER: Final = (lambda random, samples: coloured(random, samples, random.uniform(0, 2)), _tones, _clicks)


# --- faces -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Looks:
    """n pictures: `features` float16 [n, VARIANTS, size] of each as frames of a video might have it, `votes` [n, 8]."""

    features: Halves
    votes: Floats

    def save(self, file: Path) -> None:
        _save(file, vars(self))

    @classmethod
    def load(cls, file: Path) -> Looks:
        with np.load(file) as stored:
            return cls(stored["features"], stored["votes"])

    def nearest(self, wanted: NDArray[np.float64], count: int) -> NDArray[np.int64]:
        """The pictures [n, count] whose votes are nearest to each of `wanted` [n, 8], by Hellinger's distance."""
        own = np.sqrt(self.votes).T.astype(np.float32)
        likeness = [np.sqrt(some).astype(np.float32) @ own for some in np.array_split(wanted, len(wanted) // 256 + 1)]
        return np.concatenate([np.argpartition(-some, count, axis=1)[:, :count] for some in likeness])


def chosen_pictures(random: Random, targets: Floats, most: int = PICTURES_OF_A_CLASS) -> NDArray[np.int64]:
    """Rows of at most `most` pictures of each class (the one with the most votes)."""
    label = targets.argmax(1)
    groups = [random.permutation(np.flatnonzero(label == number))[:most] for number in range(len(CLASSES))]
    return np.sort(np.concatenate(groups))


def look(random: Random, encoder: VisualEncoder, crops: NDArray[np.uint8], targets: Floats) -> Looks:
    """Features of grey crops [n, S, S], each changed VARIANTS times."""
    found = []
    for first in range(0, len(crops), PICTURES_AT_ONCE):
        some = np.repeat(crops[first : first + PICTURES_AT_ONCE, ..., None], 3, axis=3)
        found.append(encoder.encode([changed_picture(random, crop) for crop in some for _ in range(VARIANTS)]))
    features = np.concatenate(found).astype(np.float16)
    return Looks(features.reshape(len(crops), VARIANTS, -1), targets)


def changed_picture(random: Random, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A face crop [S, S, 3] as another frame of a video might have it: moved, turned, blurred, lighter or darker."""
    edge = len(picture)
    wide = Image.fromarray(np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge"))
    angle, scale = math.radians(random.normal(0, 4)), math.exp(random.normal(0, 0.04))
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    middle = (edge - 1) / 2
    x, y = random.normal(0, 0.02 * edge, 2) + middle + MARGIN
    matrix = (cos, -sin, x - cos * middle + sin * middle, sin, cos, y - sin * middle - cos * middle)
    moved = wide.transform((edge, edge), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    pixels = np.asarray(moved.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.2))), np.float32)
    pixels = pixels[:, ::-1] if random.random() < 0.5 else pixels
    lighter = (pixels - 128) * random.uniform(0.75, 1.3) + 128 + random.normal(0, 15)
    return np.ascontiguousarray(lighter.clip(0, 255).astype(np.uint8))


def _save(file: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    partial = file.with_suffix(".part.npz")
    np.savez(partial, **arrays)
    partial.replace(file)
