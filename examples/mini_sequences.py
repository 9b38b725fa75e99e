"""What talking sequences are made of: a plan of segments, faces that move a little, speech with pauses and noise.

`mini_fusion.py make` joins them; it says why, and what such sequences are not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from PIL import Image, ImageFilter
from scipy.signal import resample_poly

from affcli.facesets.listing import Labelled
from affcli.facesets.preparing import Preparation, Preparer
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.schema import CLASSES

FPS, RATE = 30, 16_000
SPOKEN = CLASSES[:6]
EMOTIONS = {"N": "Neutral", "W": "Anger", "E": "Disgust", "A": "Fear", "F": "Happiness", "T": "Sadness"}
SHARES = np.array([2, 1, 1, 1, 1, 1, 1, 0.5])  # of the classes, but that neighbours differ
SECONDS = (1.5, 6.0)  # of a segment
SILENT, FACELESS = 0.2, 0.07  # shares of segments
GAP, GAP_SECONDS = 0.3, (0.2, 1.2)  # share of pictures that vanish for a while, and how long
TWO_FACES = 0.5  # share of segments
VARIANTS = 4  # of a picture
DWELL = (3, 10)  # frames from one variant to the next; features between them are interpolated
MARGIN = 8  # pixels that a picture's edge is repeated for, so that moving it leaves no black
PAUSE, FADE = (0.1, 0.5), 160  # seconds; samples
LOUDNESS, NOISE = (-32.0, -14.0), (-45.0, -12.0)  # dB of full scale; of the noise relative to the video's speech
Random = np.random.Generator


class Segment(NamedTuple):
    """Frames [start, stop) of one class. `speech` is the class that is heard, None in silence."""

    start: int
    stop: int
    label: int
    face: bool
    speech: int | None


def plan(random: Random, frames: int, heard: np.ndarray) -> list[Segment]:
    """Segments that fill a video; `heard` [8, 6] is how often the speech of a class is of which."""
    segments: list[Segment] = []
    start, label = 0, -1
    while start < frames:
        stop = start + round(FPS * random.uniform(*SECONDS))
        stop = frames if frames - stop < FPS * SECONDS[0] else stop
        shares = np.where(np.arange(len(CLASSES)) == label, 0, SHARES)
        label = int(random.choice(len(CLASSES), p=shares / shares.sum()))
        face, silent = random.random() >= FACELESS, random.random() < SILENT
        speech = int(random.choice(len(SPOKEN), p=heard[label]))
        segments.append(Segment(start, stop, label, face, None if silent else speech))
        start = stop
    return segments


def hearing(confusion: np.ndarray | None) -> np.ndarray:
    """[8, 6] for `plan`: the shares of a confusion matrix [6, 6], or no mistakes; any class for what nobody speaks."""
    shares = np.eye(len(SPOKEN)) if confusion is None else confusion / confusion.sum(1, keepdims=True)
    others = len(CLASSES) - len(SPOKEN)
    return np.concatenate([shares, np.full((others, len(SPOKEN)), 1 / len(SPOKEN))])


class Deck:
    """Rows of each class in random order, from the start again once all were drawn."""

    def __init__(self, random: Random, labels: np.ndarray) -> None:
        self._rows = [random.permutation(np.flatnonzero(labels == number)).tolist() for number in range(len(CLASSES))]
        self._drawn = [0] * len(CLASSES)

    def draw(self, label: int) -> int:
        rows = self._rows[label]
        self._drawn[label] += 1
        return int(rows[(self._drawn[label] - 1) % len(rows)])


# --- faces -----------------------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A picture over frames [start, stop): frame i has `share[i]` of variant `after[i]`, the rest of `before[i]`."""

    start: int
    stop: int
    picture: int
    before: np.ndarray
    after: np.ndarray
    share: np.ndarray
    seen: np.ndarray

    def features(self, variants: np.ndarray) -> np.ndarray:
        """[frames, size] of features [VARIANTS, size]."""
        share = self.share[:, None]
        mixed = (1 - share) * variants[self.before].astype(np.float32) + share * variants[self.after]
        return np.asarray(mixed, np.float16)


def shows(random: Random, segments: Sequence[Segment], deck: Deck) -> Iterator[Shown]:
    """One or two pictures for each segment with a face, each a random walk over its variants."""
    for segment in filter(lambda one: one.face, segments):
        frames = segment.stop - segment.start
        cuts = [round(frames * random.uniform(0.3, 0.7))] if random.random() < TWO_FACES else []
        bounds = [segment.start, *(segment.start + cut for cut in cuts), segment.stop]
        for start, stop in itertools.pairwise(bounds):
            yield _walk(random, start, stop, deck.draw(segment.label))


def _walk(random: Random, start: int, stop: int, picture: int) -> Shown:
    frames = stop - start
    knots = np.concatenate([[0], np.cumsum(random.integers(*DWELL, frames))])
    steps = random.choice([-1, 1], len(knots))
    variant = np.cumsum(steps) % VARIANTS
    left = np.searchsorted(knots, np.arange(frames), side="right") - 1
    share = (np.arange(frames) - knots[left]) / (knots[left + 1] - knots[left])
    seen = np.ones(frames, bool)
    if random.random() < GAP:
        gap, at = round(FPS * random.uniform(*GAP_SECONDS)), random.integers(frames)
        seen[at : at + gap] = False
    return Shown(start, stop, picture, variant[left], variant[left + 1], share, seen)


def changed(random: Random, picture: np.ndarray) -> np.ndarray:
    """A face crop [S, S, 3] as another frame of a video might have it: moved, turned, blurred, lighter or darker."""
    edge = len(picture)
    wide = Image.fromarray(np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge"))
    angle, scale = random.normal(0, 3) * math.pi / 180, math.exp(random.normal(0, 0.03))
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    middle = (edge - 1) / 2
    x, y = random.normal(0, 0.02 * edge, 2) + middle + MARGIN
    matrix = (cos, -sin, x - cos * middle + sin * middle, sin, cos, y - sin * middle - cos * middle)
    moved = wide.transform((edge, edge), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    blurred = moved.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.8)))
    pixels = np.asarray(blurred, np.float32)
    lighter = (pixels - 128) * random.uniform(0.85, 1.15) + 128 + random.normal(0, 12)
    return np.asarray(lighter.clip(0, 255), np.uint8)


def encoded(random: Random, encoder: VisualEncoder, faces: Labelled, rows: Sequence[int]) -> dict[int, np.ndarray]:
    """Features float16 [VARIANTS, size] of some pictures, by their row."""
    shown = encoder.preprocessing
    preparer = Preparer(Preparation(shown.input_size, align=True, resample=shown.resample))
    features = {}
    for row in rows:
        picture, _ = preparer.prepare(faces.origins[row])
        if picture is None:
            raise SystemExit(f"{faces.origins[row].path}: cannot be read")
        features[row] = encoder.encode([changed(random, picture) for _ in range(VARIANTS)])
    return features


# --- speech ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Voices:
    """Utterances by speaker and class, each float32 at 16 kHz with a mean power of 1."""

    utterances: Mapping[tuple[str, int], list[np.ndarray]]

    @classmethod
    def read(cls, folder: Path) -> Voices:
        utterances: dict[tuple[str, int], list[np.ndarray]] = {}
        for file in sorted(folder.rglob("*.wav")):
            if len(file.stem) == 7 and file.stem[5] in EMOTIONS:
                key = file.stem[:2], SPOKEN.index(EMOTIONS[file.stem[5]])
                utterances.setdefault(key, []).append(_spoken(file))
        if not utterances:
            raise SystemExit(f"{folder}: no SSTTTEv.wav of Emo-DB in it")
        return cls(utterances)

    @property
    def speakers(self) -> list[str]:
        return sorted({speaker for speaker, _ in self.utterances})

    def of(self, speakers: Sequence[str]) -> Voices:
        chosen = Voices({key: sounds for key, sounds in self.utterances.items() if key[0] in speakers})
        if lacking := [name for number, name in enumerate(SPOKEN) if not chosen.who_speaks(number)]:
            raise SystemExit(f"speakers {' '.join(speakers)}: have no utterance of {', '.join(lacking)}")
        return chosen

    def who_speaks(self, label: int) -> list[str]:
        return [speaker for speaker in self.speakers if (speaker, label) in self.utterances]

    def any(self, random: Random, speaker: str, label: int) -> np.ndarray:
        """An utterance of a class, by another speaker where this one has none of it."""
        if (speaker, label) not in self.utterances:
            speaker = random.choice(self.who_speaks(label))
        sounds = self.utterances[speaker, label]
        return sounds[random.integers(len(sounds))]


def _spoken(file: Path) -> np.ndarray:
    samples, rate = soundfile.read(file, dtype="float32")
    common = math.gcd(rate, RATE)
    sound = resample_poly(samples, RATE // common, rate // common)
    return np.asarray(sound / sound.std(), np.float32)


def sound_of(random: Random, segments: Sequence[Segment], voices: Voices, speaker: str) -> np.ndarray:
    """A video's sound, float32 in [−1, 1]: one speaker, pauses, and some noise all the time."""
    total = segments[-1].stop * RATE // FPS
    noise, colour = random.standard_normal(total), random.uniform(0, 0.95)
    noise[1:] += colour * noise[:-1]
    speech = np.zeros(total)
    for segment in segments:
        if segment.speech is not None:
            part = speech[segment.start * RATE // FPS : segment.stop * RATE // FPS]
            _talk(random, part, lambda one=segment.speech: voices.any(random, speaker, one))
    mixed = speech + noise / noise.std() * _ratio(random.uniform(*NOISE))
    return np.asarray((mixed * _ratio(random.uniform(*LOUDNESS))).clip(-1, 1), np.float32)


def _talk(random: Random, part: np.ndarray, utterance: Callable[[], np.ndarray]) -> None:
    """Fills a stretch of sound with utterances and pauses between them; the last one is cut off."""
    at = round(RATE * random.uniform(*PAUSE))
    while len(part) - at > RATE // 2:
        sound = utterance() * _ratio(random.normal(0, 3))
        room = len(part) - at
        if len(sound) > room:
            begin = random.integers(len(sound) - room + 1)
            sound = sound[begin : begin + room]
            ramp = np.minimum(np.arange(room), np.arange(room)[::-1]).clip(max=FADE) / FADE
            sound = sound * ramp
        part[at : at + len(sound)] = sound
        at += len(sound) + round(RATE * random.uniform(*PAUSE))


def _ratio(decibels: float) -> float:
    return float(10 ** (decibels / 20))
