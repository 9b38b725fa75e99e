"""What the pieces of other teams' recipes buy on synthetic data (see synthetic.py): macro F1 on held-out videos.

python tests/benchmarks/recipe_parts.py draw SEED GROUP OUT.json     GROUP: tables, losses, windows, after, pseudo
python tests/benchmarks/recipe_parts.py table OUT.json …             the table of all draws; figures: RESULTS.md

A draw is data, networks and scores of one seed, some minutes of one core a group; one that was interrupted goes on.
Lines of a group are compared with its first line, seed by seed. To the data of synthetic.py come what other encoders
would add: a second visual table that sees the classes along other directions, at 0.7 of the strength, and lacks other
frames; and four hidden layers of the audio, of which the third holds what the audio table holds, the others less of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from experiments import CPU, Figures, network_of, predicted, trained
from numpy.typing import NDArray
from parts import KERNEL, OPTIONS, STRIDE
from synthetic import MEAN_RUN, MISSING_FACES, SIZE, Video, World, write

from affcli.features.joined import JoinedFeatures
from affcli.features.side_by_side import SideBySide
from affcli.features.stream import FeatureTable, Stream, StreamFeatures
from affcli.labels.reader import VideoLabels, read_labels
from affcli.models.fusion.dataset import TrainingSet, ValidationSet
from affcli.models.fusion.inference import voted
from affcli.models.fusion.network import FusionConfig
from affcli.models.fusion.trainer import TrainingOptions
from affcli.predictions.space import softmax
from affcli.scoring.fit_calibration import Judged, cross_validated
from affcli.scoring.fit_temperature import judged_temperature
from affcli.scoring.metrics import confusion, macro_f1

LAYERS = np.array([0.0, 0.4, 1.0, 0.6])  # how much of the sound each hidden layer holds
STEP = 32  # frames between windows of prediction
# Half of what parts.py trains on: many lines, in minutes.
SIZES = {"Train_Set": {"count": 40, "frames": 18_000}, "Test_Set": {"count": 40, "frames": 14_000}}
SECOND = 0.7  # strength of the second visual table
NETWORK = network_of(dim=32, layers=1, heads=2)
Labels = dict[str, VideoLabels]


class RecipeWorld(World):
    """Keeps, beside each video, what a second encoder and hidden layers make of it, and the truth."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.more: dict[str, tuple[StreamFeatures, StreamFeatures, NDArray[np.int64]]] = {}
        strength = SECOND * np.linalg.norm(self._looks, axis=1, keepdims=True)
        self._other_looks = strength * self._directions()
        self._truth: NDArray[np.int64] = np.empty(0, np.int64)

    def _course(self, frames: int, classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        self._truth, labels = super()._course(frames, classes)
        return self._truth, labels

    def _video(self, name: str, frames: int, classes: NDArray[np.int64]) -> Video:
        video, truth = super()._video(name, frames, classes), self._truth
        there = ~self._runs(frames, MISSING_FACES, MEAN_RUN["missing"])
        seen = self._features(self._other_looks[truth])
        sound = video.audio.astype(np.float32)
        noise = self._random.normal(size=(frames, len(LAYERS), SIZE))
        layers = LAYERS[None, :, None] * sound[:, None] + (1 - LAYERS[None, :, None]) * noise
        times_s = np.arange(frames) / 30
        self.more[name] = (
            StreamFeatures(seen, there, times_s),
            StreamFeatures(layers.reshape(frames, -1).astype(np.float16), video.sound, times_s),
            truth,
        )
        return video


class Kept:
    """A Stream of features in memory; `of` chooses which of a video's."""

    encoder: Mapping[str, object]
    metadata: Mapping[str, object] = {}

    def __init__(self, name: str, size: int, features: dict[str, StreamFeatures], **card: int) -> None:
        self.name, self.size, self._features, self.encoder = name, size, features, {"size": size, **card}
        self.videos = sorted(features)

    def __contains__(self, video: str) -> bool:
        return video in self._features

    def frames(self, video: str) -> int:
        return self._features[video].frames

    def read(self, video: str) -> StreamFeatures:
        found = self._features[video]
        return replace(found, features=np.where(found.valid[:, None], found.features, np.float16(0)))

    def read_times(self, video: str) -> NDArray[np.float64]:
        return self._features[video].time_s

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Draw:
    """The tables and labels of one seed."""

    visual: Stream
    audio: Stream
    second: Kept
    layers: Kept
    labels: dict[str, Labels]
    truth: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, seed: int, folder: Path) -> Draw:
        world = RecipeWorld(seed)
        write(folder, world, SIZES)
        visual, audio = (FeatureTable(str(folder / f"{stream}.parquet")) for stream in ("visual", "audio"))
        second, layers, truth = ({name: one[i] for name, one in world.more.items()} for i in range(3))
        more = Kept("second", SIZE, second), Kept("layers", SIZE * len(LAYERS), layers, layers=len(LAYERS))
        return cls(visual, audio, *more, {of: read_labels(str(folder / of)) for of in SIZES}, truth)

    def sets(
        self,
        visual: Stream | None = None,
        audio: Stream | None = None,
        *,
        window: int = 64,
        labels: Labels | None = None,
    ) -> tuple[TrainingSet, ValidationSet]:
        """What is trained on and tested with, of some tables."""
        joined = JoinedFeatures(visual or self.visual, audio or self.audio, sizes=(0, 0))
        train = labels or self.labels["Train_Set"]
        data = TrainingSet.load(joined, train, window=window, stride=STRIDE)
        return data, ValidationSet.load(joined, self.labels["Test_Set"])

    def part_of_layers(self, chosen: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Kept:
        """An audio table made of the layers [n, layers, SIZE]."""
        made = {
            name: replace(
                one, features=chosen(one.features.reshape(one.frames, -1, SIZE).astype(np.float32)).astype(np.float16)
            )
            for name, one in self.layers._features.items()
        }
        return Kept("layer", SIZE, made)


@dataclass(frozen=True)
class Data:
    """What `experiments.trained` needs of a draw."""

    train: TrainingSet
    test: ValidationSet


def scored(
    sets: tuple[TrainingSet, ValidationSet], config: FusionConfig, options: TrainingOptions, **how: int
) -> list[float]:
    logits = logits_of(sets, config, options, **how)
    figures = Figures.of(sets[1], logits, kernel=KERNEL)
    return [figures.macro_f1, figures.rare_f1]


def logits_of(
    sets: tuple[TrainingSet, ValidationSet],
    config: FusionConfig,
    options: TrainingOptions,
    *,
    window: int | None = None,
) -> NDArray[np.float64]:
    network = trained(config, options, Data(*sets))  # type: ignore[arg-type]  # as much of Data as it reads
    if window is None:
        return predicted(network, sets[1], stride=STEP)
    return voted(
        network, sets[1].frames, CPU, window=window, stride=min(STEP, window), batch_size=max(1, 16_384 // window)
    )


Lines = Iterator[tuple[str, Callable[[], list[float]]]]  # what, and its figures when asked for


def tables(draw: Draw, options: TrainingOptions) -> Lines:
    both = SideBySide([draw.visual, draw.second], [SIZE, SIZE])
    two = replace(NETWORK, visual_size=2 * SIZE, visual_tables=((1, SIZE), (1, SIZE)))
    layered = replace(NETWORK, audio_size=4 * SIZE, audio_tables=((4, SIZE),))
    yield "one visual table", lambda: scored(draw.sets(), NETWORK, options)
    yield "the second one instead", lambda: scored(draw.sets(draw.second), NETWORK, options)
    yield "both, --join concat", lambda: scored(draw.sets(both), two, options)
    yield "both, --join gate", lambda: scored(draw.sets(both), replace(two, join="gate"), options)
    for name, of in {
        "mean of 4 hidden layers": lambda one: one.mean(1),
        "last hidden layer": lambda one: one[:, -1],
    }.items():
        yield f"audio: {name}", lambda of=of: scored(draw.sets(audio=draw.part_of_layers(of)), NETWORK, options)
    yield "audio: --layers all, learnt weights", lambda: scored(draw.sets(audio=draw.layers), layered, options)


def losses(draw: Draw, options: TrainingOptions) -> Lines:
    yield "--loss focal", lambda: scored(draw.sets(), NETWORK, options)
    for name, chosen in {
        "--loss cross-entropy": {"loss": "cross-entropy"},
        "--loss logit-adjusted": {"loss": "logit-adjusted"},
        "--label-smoothing 0.1": {"label_smoothing": 0.1},
        "--ema 0.95": {"ema": 0.95},
    }.items():
        yield name, lambda chosen=chosen: scored(draw.sets(), NETWORK, replace(options, **chosen))
    judged = {}
    for name, one in draw.labels["Train_Set"].items():
        right = one.labels == draw.truth[name][: len(one.labels)]
        judged[name] = replace(one, weights=np.where(right, 1, 0.2).astype(np.float32))
    weighed = "--frame-weights: 0.2 where the label is wrong"
    yield weighed, lambda: scored(draw.sets(labels=judged), NETWORK, options)


def windows(draw: Draw, options: TrainingOptions) -> Lines:
    yield "windows of 64 frames", lambda: scored(draw.sets(), NETWORK, options)
    for length in (16, 256):
        config = replace(NETWORK, window=length)
        chosen = replace(options, batch_size=max(4, 16 * 64 // length))
        yield f"train --window {length}", lambda c=config, o=chosen: scored(draw.sets(window=c.window), c, o)
    for length in (16, 256):
        yield f"predict --window {length}", lambda n=length: scored(draw.sets(), NETWORK, options, window=n)


def after(draw: Draw, options: TrainingOptions) -> Lines:
    """Macro F1 without a median and, in place of that of the rare classes, the expected calibration error."""
    sets = draw.sets()
    test, fused = sets[1], logits_of(sets, NETWORK, options)
    silent = [
        replace(one, audio_valid=torch.zeros_like(one.audio_valid)) for one in (sets[0].labelled.frames, test.frames)
    ]
    seen = replace(sets[0], labelled=replace(sets[0].labelled, frames=silent[0])), replace(test, frames=silent[1])
    picture = logits_of(seen, NETWORK, options)
    owner = np.searchsorted(test.frames.offsets, test.row, side="right") - 1

    def judged(logits: NDArray[np.float64]) -> Judged:
        return Judged(logits[test.row].T, test.truth.astype(np.intp), owner, test.frames.videos)

    def f1(predicted: NDArray[np.integer]) -> float:
        return float(macro_f1(confusion(test.truth, predicted)))

    plain, alone = judged(fused), judged(picture)
    before, at_best = judged_temperature(plain, "logits", folds=5, seed=0)
    first = f1(plain.logits.argmax(0))
    yield "as it is", lambda: [first, before.ece]
    yield "calibrate --temperature", lambda: [first, at_best.ece]
    yield "calibrate --thresholds", lambda: [f1(cross_validated(plain, folds=5, seed=0)), np.nan]
    yield "the picture's own network alone", lambda: [f1(alone.logits.argmax(0)), np.nan]
    for least in (0.9, 0.7, 0.5):
        mixed = np.where((softmax(picture).max(1) > least)[:, None], picture, fused)
        yield f"vote picture fused --trust {least}", lambda mixed=mixed: [f1(judged(mixed).logits.argmax(0)), np.nan]


def pseudo(draw: Draw, options: TrainingOptions) -> Lines:
    own = draw.labels["Train_Set"]
    names = sorted(own)
    few = {name: own[name] for name in names[::3]}
    yield "a third of the labelled videos", lambda: scored(draw.sets(labels=few), NETWORK, options)
    yield "all labelled videos", lambda: scored(draw.sets(), NETWORK, options)
    for least in (0.9, 0.5):
        what = f"a third, the rest by --min-confidence {least}"
        yield (
            what,
            lambda least=least: scored(draw.sets(labels=with_pseudo(draw, few, options, least)), NETWORK, options),
        )


def with_pseudo(draw: Draw, few: Labels, options: TrainingOptions, least: float) -> Labels:
    """The labels, and for the other training videos what a network trained on them is that sure of."""
    network = trained(NETWORK, options, Data(*draw.sets(labels=few)))  # type: ignore[arg-type]
    rest = {name: one for name, one in draw.labels["Train_Set"].items() if name not in few}
    unlabelled = ValidationSet.load(JoinedFeatures(draw.visual, draw.audio, sizes=(0, 0)), rest)
    frames, added = unlabelled.frames, dict(few)
    p = softmax(predicted(network, unlabelled, stride=STEP))
    for name, first, last in zip(frames.videos, frames.offsets[:-1], frames.offsets[1:], strict=True):
        labels = np.where(p[first:last].max(1) >= least, p[first:last].argmax(1), -1).astype(np.int8)
        if (labels >= 0).any():
            added[name] = VideoLabels(name, labels)
    return added


GROUPS = {"tables": tables, "losses": losses, "windows": windows, "after": after, "pseudo": pseudo}


def drawn(seed: int, group: str, out: str) -> None:
    """Writes after every line, and goes on where it was left."""
    torch.set_num_threads(1)
    found = json.loads(Path(out).read_text())["found"] if Path(out).exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, figures in GROUPS[group](
            Draw.of(seed, Path(folder)), replace(OPTIONS, seed=seed, epochs=10, batch_size=16)
        ):
            if name not in found:
                found[name] = figures()
                print(f"seed {seed}: {name}: {found[name]}, {time.process_time():.0f} s", file=sys.stderr, flush=True)
                Path(out).write_text(json.dumps({"seed": seed, "group": group, "found": found}))


def spread(values: NDArray[np.float64], *, sign: str = "") -> str:
    if np.isnan(values).any():
        return ""
    return f"{values.mean():{sign}.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def show(files: list[str]) -> None:
    """Means over the draws that have a line ± their standard deviation; all but first lines as differences to it."""
    draws = [json.loads(Path(name).read_text()) for name in files]
    for group in dict.fromkeys(draw["group"] for draw in draws):
        own = [draw["found"] for draw in draws if draw["group"] == group and draw["found"]]
        first = next(iter(own[0]))
        print(f"| | macro F1 | {'calibration error' if group == 'after' else 'rare classes only'} | draws |")
        print("|---|---|---|---|")
        for name in own[0]:
            having = [draw for draw in own if name in draw]
            rows = np.array([draw[name] for draw in having], float)
            if name != first:
                rows -= np.array([draw[first] for draw in having], float)
            cells = [spread(column, sign="" if name == first else "+") for column in rows.T]
            print(f"| {name} | " + " | ".join(cells) + f" | {len(having)} |")
        print()


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        drawn(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        show(sys.argv[2:])
