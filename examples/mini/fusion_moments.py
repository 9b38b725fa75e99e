"""Made-up windows for the fusion network: moments of faces and voices, gaps, changes, and people's votes on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from fusion_data import BOTH, FACE, GRID_HZ, VARIANTS, VOICE, Floats, Halves, Looks, Random, Voices
from numpy.typing import NDArray

from affcli.schema import CLASSES

NEUTRAL, SURPRISE = CLASSES.index("Neutral"), CLASSES.index("Surprise")
FRAMES: Final = 64  # of a window
FPS: Final = (12.0, 30.0)  # of a window: some real videos have few frames
SHARES: Final = np.array([1.3, 1, 1, 1, 1, 1, 1, 0.5])  # of the classes among the moments
KINDS: Final = ("clip", "face", "voice", "face, neutral voice", "face, other sound")
KIND_SHARES: Final = (0.42, 0.28, 0.12, 0.10, 0.08)
NEIGHBOURS: Final = 24  # pictures from which a clip's face is drawn
SAME_CLASS: Final = 0.75  # how often the next moment shows the same class as the one before
FACE_LOST, SOUND_LOST = 0.25, 0.1  # share of moments in which a stream vanishes for a while
LOST_S: Final = (0.1, 1.5)
HEARD: Final = 0.2  # probability of speech from which a voice is heard; `label` asks for more
PAUSE_S: Final = (0.0, 0.8)  # of the voice, between clips
WEAK, WEAKEST = 0.5, 0.45  # share of the faces that show less than a picture does, and how much of them is neutral
DWELL_S: Final = (0.15, 0.6)  # from one variant of a picture to the next
NOISE: Final = 0.15  # added to features, in standard deviations of each
NEUTRAL_VOICE: Final = 0.6  # share of the votes from which a voice counts as neutral
JOINT: Final = 0.7  # of the target of a voice alone: what people said of voice and face; the rest, of the voice
PULL: Final = 0.15  # of a neutral voice on what is said of a face that is not


class Window(NamedTuple):
    """`visual`, `audio` float16 [64, size] and which of them there are [64]; `target` float32 [64, 8]."""

    visual: Halves
    seen: NDArray[np.bool_]
    audio: Halves
    heard: NDArray[np.bool_]
    target: Floats


@dataclass(frozen=True)
class Stage:
    """Who may appear: clips, pictures, other sounds."""

    voices: Voices
    looks: Looks
    nearest: NDArray[np.int64]  # [clips, NEIGHBOURS]: pictures that look as people saw each clip's face
    other: Halves
    by_class: tuple[NDArray[np.int64], ...]  # clips, by the class that most people said of both
    neutral: NDArray[np.int64]  # clips whose voice is neutral
    pictures: tuple[NDArray[np.int64], ...]  # by class
    spread: tuple[Floats, Floats]  # standard deviation of each feature, of both streams

    @classmethod
    def of(cls, voices: Voices, looks: Looks, other: Halves) -> Stage:
        said = voices.votes
        label = said[:, BOTH - 1].argmax(1)
        pictured = looks.votes.argmax(1)
        return cls(
            voices,
            looks,
            looks.nearest(said[:, FACE - 1], NEIGHBOURS),
            other,
            tuple(np.flatnonzero(label == number) for number in range(len(CLASSES))),
            np.flatnonzero(said[:, VOICE - 1, NEUTRAL] >= NEUTRAL_VOICE),
            tuple(np.flatnonzero(pictured == number) for number in range(len(CLASSES))),
            (_spread(looks.features[:, 0]), _spread(voices.features)),
        )

    def window(self, random: Random, kind: str | None = None) -> Window:
        """One of some kind; moments follow one another until it is full, from somewhere inside the first."""
        kind = kind or str(random.choice(KINDS, p=KIND_SHARES))
        fps = random.uniform(*FPS)
        label = self._class(random, kind)
        moments = [self._moment(random, kind, label, fps)]
        first = int(random.integers(len(moments[0].seen) // 2 + 1))
        while sum(len(moment.seen) for moment in moments) < first + FRAMES:
            label = label if random.random() < SAME_CLASS else self._class(random, kind)
            moments.append(self._moment(random, kind, label, fps))
        parts = (np.concatenate(part)[first : first + FRAMES] for part in zip(*moments, strict=True))
        return self._noisy(random, Window(*parts))

    # --- moments ---

    def _class(self, random: Random, kind: str) -> int:
        shares = SHARES * [len(group) > 0 for group in (self.by_class if kind in ("clip", "voice") else self.pictures)]
        return int(random.choice(len(CLASSES), p=shares / shares.sum()))

    def _moment(self, random: Random, kind: str, label: int, fps: float) -> Window:
        if kind in ("clip", "voice"):
            at = int(random.choice(self.by_class[label]))
            audio, heard = self._sound(random, at, fps)
            said = self.voices.votes[at]
            pictures = self.nearest[at]
            joint = 1.0 if kind == "clip" else JOINT
            target = joint * said[BOTH - 1] + (1 - joint) * said[VOICE - 1]
        else:
            pictures = random.choice(self.pictures[label], 1)
            target = self.looks.votes[pictures[0]]
            audio, heard = self._beside(random, kind, round(fps * random.uniform(1, 4)), fps)
            target = (1 - PULL) * target + PULL * np.eye(len(CLASSES))[NEUTRAL] if "voice" in kind else target
        visual, seen = self._face(random, pictures, len(heard), fps)
        seen = seen & (kind != "voice")
        targets = np.broadcast_to(target, (len(heard), len(CLASSES))).astype(np.float32)
        return Window(visual, seen, audio, heard, targets)

    def _sound(self, random: Random, at: int, fps: float) -> tuple[Halves, NDArray[np.bool_]]:
        """A clip's own sound at a frame rate, with a pause behind it; heard where somebody speaks."""
        rows = self.voices.rows(at)
        frames = round((rows.stop - rows.start) / GRID_HZ * fps)
        audio, speech = _resampled(self.voices.features[rows], self.voices.speech[rows], frames)
        pause = round(random.uniform(*PAUSE_S) * fps)
        heard = np.append(speech >= HEARD, np.zeros(pause, bool))
        audio = np.concatenate([audio, np.zeros((pause, audio.shape[1]), np.float16)])
        return audio, heard & ~_lost(random, len(heard), fps, SOUND_LOST)

    def _beside(self, random: Random, kind: str, frames: int, fps: float) -> tuple[Halves, NDArray[np.bool_]]:
        """What is heard beside a picture: nothing, a neutral voice, or sound without speech."""
        if "voice" in kind:
            return self._sound(random, int(random.choice(self.neutral)), fps)
        if "sound" in kind:
            own = self.other[int(random.integers(len(self.other)))]
            audio, _ = _resampled(own, np.ones(len(own), np.float32), frames)
            return audio, np.ones(frames, bool)
        return np.zeros((frames, self.other.shape[-1]), np.float16), np.zeros(frames, bool)

    def _face(
        self, random: Random, pictures: NDArray[np.int64], frames: int, fps: float
    ) -> tuple[Halves, NDArray[np.bool_]]:
        """A walk over variants of one to three pictures; between two of them features are mixed."""
        own = random.choice(pictures, int(random.integers(1, 4)))
        knots = np.cumsum(np.append(0, random.uniform(*DWELL_S, int(frames / fps / DWELL_S[0]) + 2))) * fps
        stops = np.sort(random.choice(own, len(knots)))  # one picture after the other
        shown = self.looks.features[stops, random.integers(VARIANTS, size=len(knots))].astype(np.float32)
        place = np.interp(np.arange(frames), knots, np.arange(len(knots)))
        before = place.astype(np.int64)
        share = (place - before)[:, None]
        visual = (1 - share) * shown[before] + share * shown[np.minimum(before + 1, len(knots) - 1)]
        if random.random() < WEAK:  # people in videos show less than posed pictures do
            calm = self.looks.features[random.choice(self.pictures[NEUTRAL]), random.integers(VARIANTS)]
            visual += random.uniform(0, WEAKEST) * (calm.astype(np.float32) - visual)
        return visual.astype(np.float16), ~_lost(random, frames, fps, FACE_LOST)

    def _noisy(self, random: Random, window: Window) -> Window:
        visual, audio = (
            (part + NOISE * spread * random.standard_normal(part.shape, np.float32)).astype(np.float16)
            for part, spread in zip((window.visual, window.audio), self.spread, strict=True)
        )
        return window._replace(visual=visual, audio=audio)


def _spread(features: Halves) -> Floats:
    return features[:: max(1, len(features) // 4096)].astype(np.float32).std(0)


def _resampled(features: Halves, speech: Floats, frames: int) -> tuple[Halves, Floats]:
    place = np.linspace(0, len(features) - 1, frames)
    before = np.minimum(place.astype(np.int64), max(len(features) - 2, 0))
    after, share = np.minimum(before + 1, len(features) - 1), (place - before)[:, None]
    mixed = (1 - share) * features[before].astype(np.float32) + share * features[after]
    return mixed.astype(np.float16), np.asarray(np.interp(place, np.arange(len(speech)), speech), np.float32)


def _lost(random: Random, frames: int, fps: float, share: float) -> NDArray[np.bool_]:
    """Where a stream is missing for a while, bool [frames], in some moments."""
    lost = np.zeros(frames, bool)
    if random.random() < share:
        start = int(random.integers(frames))
        lost[start : start + round(random.uniform(*LOST_S) * fps)] = True
    return lost
