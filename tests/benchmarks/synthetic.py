"""Made-up audio-visual data of Aff-Wild2's shape and imbalance at 1/30 of its size, for experiments that take minutes.

python tests/benchmarks/synthetic.py FOLDER [SEED]     writes visual.parquet, audio.parquet and folders of labels

What is like Aff-Wild2's EXPR training set (247 videos, 1.10 million frames, 54 % of them labelled): video lengths are
log-normal with its spread, each class occurs in its share of the videos and in about its share of the frames, a video
has few classes, unlabelled frames come in runs. There are a quarter of its videos, a seventh as long.

What is made up: everything else. An expression is a run of frames; its class shows in the picture, in the sound where
somebody speaks, or in both. Every video is of another person, who shifts all its features. Faces go missing in runs,
people fall silent, frames are noisy, annotators are late and sometimes wrong. Differences between two trainings on such
data say what a part can do, not what it does on Aff-Wild2.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.schema import AUDIO, CLASSES, NOT_ANNOTATED, VISUAL, audio_schema, visual_schema, with_metadata
from affcli.tables.writer import TableWriter

# Of Aff-Wild2's training videos: the share in which a class occurs.
SHARE_OF_VIDEOS = np.array([0.81, 0.13, 0.08, 0.06, 0.66, 0.13, 0.28, 0.45])
# How much of a video a class takes where it occurs, against the others there; fitted so that its share of all frames
# is near Aff-Wild2's: 30, 3, 2, 1.5, 16, 14, 5 and 29 per cent.
WEIGHT_WITHIN = np.array([0.33, 0.16, 0.19, 0.30, 0.15, 3.0, 0.12, 0.85])
LABELLED = 0.54
LENGTH_SPREAD = 0.95  # of the logarithm of a video's frames
VIDEOS, FRAMES = 60, 36_750  # 1,102,504 / 30
RARE = ("Anger", "Disgust", "Fear", "Surprise")  # each under 5 % of the labelled frames

SIZE = 64  # numbers in a feature, either stream
# How far a class is from the others, in units of a frame's noise along its own direction. What is 0 cannot be seen (or
# heard): Anger and Sadness are in the voice above all, Happiness and Disgust in the face.
SEEN = np.array([1.0, 0.7, 3.0, 2.0, 2.5, 0.7, 2.0, 1.2])
HEARD = np.array([0.7, 3.0, 0.0, 2.0, 0.7, 3.0, 2.0, 1.2])
PERSON = 0.25  # spread of a person's own features, in the same units
MEAN_RUN = {"expression": 45, "missing": 25, "speaking": 40, "labelled": 150}  # frames
MISSING_FACES, SPEAKING, NO_SOUND = 0.06, 0.6, 0.03  # shares of frames
WRONG_LABELS = 0.08  # share of expressions that the annotator takes for another class of the same video
LATE_BY = 6  # frames; the most by which a label comes late


@dataclass(frozen=True)
class Video:
    """One made-up video of n frames; missing frames are False in `face` and `sound`, whatever the features hold."""

    name: str
    visual: NDArray[np.float16]  # [n, SIZE]
    face: NDArray[np.bool_]
    audio: NDArray[np.float16]
    sound: NDArray[np.bool_]
    labels: NDArray[np.int8]  # class numbers, -1 where nobody judged


class World:
    """What classes look and sound like: one direction each, the same for all videos of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._looks, self._sounds = (strength[:, None] * self._directions() for strength in (SEEN, HEARD))

    def _directions(self) -> NDArray[np.float64]:
        drawn = self._random.normal(size=(len(CLASSES), SIZE))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def videos(self, prefix: str, *, count: int = VIDEOS, frames: int = FRAMES) -> Iterator[Video]:
        """`count` videos, each of another person, with `frames` frames together."""
        lengths = self._random.lognormal(sigma=LENGTH_SPREAD, size=count)
        occurs = self._random.permuted(np.arange(count)[:, None] < np.rint(SHARE_OF_VIDEOS * count), axis=0)
        occurs[~occurs.any(axis=1), 0] = True
        for index, length in enumerate(np.maximum(64, lengths * frames / lengths.sum()).astype(int)):
            yield self._video(f"{prefix}{index:03d}", int(length), np.flatnonzero(occurs[index]))

    def _video(self, name: str, frames: int, classes: NDArray[np.int64]) -> Video:
        truth, labels = self._course(frames, classes)
        speaking = self._runs(frames, SPEAKING, MEAN_RUN["speaking"])
        judged = self._runs(frames, LABELLED, MEAN_RUN["labelled"])
        return Video(
            name,
            self._features(self._looks[truth]),
            ~self._runs(frames, MISSING_FACES, MEAN_RUN["missing"]),
            self._features(self._sounds[truth] * speaking[:, None]),
            ~self._runs(frames, NO_SOUND, MEAN_RUN["missing"]),
            np.where(judged, labels, NOT_ANNOTATED).astype(np.int8),
        )

    def _features(self, shown: NDArray[np.float64]) -> NDArray[np.float16]:
        """What is shown, shifted by who shows it, with a frame's noise."""
        person = PERSON * self._random.normal(size=SIZE)
        return (shown + person + self._random.normal(size=shown.shape)).astype(np.float16)

    def _course(self, frames: int, classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The class of each frame [n], and what an annotator makes of it."""
        random = self._random
        mix = random.dirichlet(8 * WEIGHT_WITHIN[classes] / WEIGHT_WITHIN[classes].sum())
        truth, labels = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
        first = 0
        while first < frames:
            truth[first:] = random.choice(classes, p=mix)
            mistaken = random.random() < WRONG_LABELS
            late = random.integers(LATE_BY + 1) if first else 0
            labels[first + late :] = random.choice(classes) if mistaken else truth[first]
            first += int(random.geometric(1 / MEAN_RUN["expression"]))
        return truth, labels

    def _runs(self, frames: int, share: float, mean: int) -> NDArray[np.bool_]:
        """[n]: true in runs of `mean` frames on average, and in `share` of all frames on average."""
        flags, first, now = np.zeros(frames, np.bool_), 0, bool(self._random.random() < share)
        while first < frames:
            last = first + int(self._random.geometric(1 / (mean if now else mean * (1 - share) / share)))
            flags[first:last] = now
            first, now = last, not now
        return flags


def write(folder: Path, world: World, sets: dict[str, dict[str, int]]) -> None:
    """visual.parquet and audio.parquet of the videos of all sets, and a folder of label texts for each set.

    `sets` says how many videos and frames: {"Train_Set": {"count": 60, "frames": 36_750}, …}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = {"encoder": {"name": "synthetic", "fingerprint": "none", "feature": "made up", "size": SIZE}}
    visual = with_metadata(visual_schema(SIZE), kind=VISUAL, **described)
    audio = with_metadata(audio_schema(SIZE), kind=AUDIO, **described)
    with (
        TableWriter(str(folder / "visual.parquet"), visual, force=True) as pictures,
        TableWriter(str(folder / "audio.parquet"), audio, force=True) as sounds,
    ):
        for name, size in sorted(sets.items()):
            (folder / name).mkdir(exist_ok=True)
            for video in world.videos(name, **size):
                pictures.write(_rows(video.name, video.visual, video.face, visual))
                sounds.write(_rows(video.name, video.audio, video.sound, audio))
                lines = [",".join(CLASSES), *map(str, video.labels)]
                (folder / name / f"{video.name}.txt").write_text("\n".join(lines) + "\n")


def _rows(video: str, features: NDArray[np.float16], there: NDArray[np.bool_], schema: pa.Schema) -> pa.Table:
    count = len(features)
    columns = {
        "video": [video] * count,
        "frame": np.arange(1, count + 1, dtype=np.int32),
        "time_s": np.arange(count) / 30,
        "face": there,
        "feature": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), SIZE, mask=pa.array(~there)),
    }
    return pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema)


def main(folder: Path, seed: int = 0) -> None:
    one = {"count": VIDEOS, "frames": FRAMES}
    validation = {"count": VIDEOS * 70 // 247, "frames": FRAMES * 454 // 1_103}
    write(folder, World(seed), {"Train_Set": one, "Validation_Set": validation, "Test_Set": one})
    counts = class_counts(folder / "Train_Set")
    print(f"{folder}: {len(list((folder / 'Train_Set').iterdir()))} training videos; labelled frames of each class:")
    print(", ".join(f"{name} {share:.1%}" for name, share in zip(CLASSES, counts / counts.sum(), strict=True)))


def class_counts(labels: Path) -> NDArray[np.int64]:
    """Labelled frames of each class in a folder of label texts."""
    numbers = [np.loadtxt(path, skiprows=1, dtype=int, ndmin=1) for path in labels.iterdir()]
    every = np.concatenate(numbers)
    return np.bincount(every[every >= 0], minlength=len(CLASSES))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
