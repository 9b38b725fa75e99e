"""Judges networks on short clips of known class: the answer for a clip is the most frequent label of its frames.

    python examples/mini/judge.py CLIPS LABELS.csv OUT [--visual-model M] [--audio-model M] [--model M]

CLIPS is a folder of videos; LABELS.csv has the columns `video` (file name without suffix) and `class` (one of affcli's
eight). Prints right answers and total with a 95 % Wilson interval, and a confusion table, for

- the image encoder's own head (`extract-visual --logits`),
- the fusion network with images alone and with audio alone (`predict`),
- image and audio as `affcli label` labels them.

OUT receives the tables; an interrupted run continues.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from affcli.schema import CLASSES

Answers = dict[str, int]  # class number of each video; videos without a label are left out


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson 1927)."""
    share, centre = right / total, (right + z * z / 2) / (total + z * z)
    reach = z / (total + z * z) * math.sqrt(total * share * (1 - share) + z * z / 4)
    return centre - reach, centre + reach


def affcli(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "affcli", *map(str, words)], check=True)


def features(options: argparse.Namespace) -> tuple[Path, Path]:
    """The visual and the audio feature table of all clips."""
    visual, audio = options.out / "visual.parquet", options.out / "audio.parquet"
    affcli("extract-visual", options.clips, "--model", options.visual_model, "--logits", "--update", "-o", visual)
    affcli("extract-audio", options.clips, "--model", options.audio_model, "--update", "-o", audio)
    return visual, audio


def fused(options: argparse.Namespace, name: str, *streams: str | Path) -> Answers:
    """Answers of the fusion network from `streams`, the arguments of `affcli predict`, smoothed as `label` does."""
    windows, frames, smooth = (options.out / f"{name}-{part}.parquet" for part in ("windows", "frames", "smooth"))
    affcli("predict", "--model", options.model, *streams, "-f", "-o", windows)
    affcli("vote", windows, "-f", "-o", frames)
    affcli("smooth", frames, "-f", "-o", smooth)
    return most_frequent(smooth)


def labelled(options: argparse.Namespace) -> Answers:
    """Answers of `affcli label`."""
    folder = options.out / "label"
    encoders = ("--visual-model", options.visual_model, "--audio-model", options.audio_model)
    affcli("label", options.clips, "--model", options.model, *encoders, "--update", "-o", folder)
    tables = (folder / "frames").glob("**/*.parquet")
    return {video: label for table in tables for video, label in most_frequent(table).items()}


def most_frequent(table: Path) -> Answers:
    """The class that has the largest logit in most frames of each video; frames without logits do not count."""
    columns = pq.read_table(table, columns=["video", *CLASSES])
    logits = np.stack([columns[name].to_numpy() for name in CLASSES], 1)
    videos = np.asarray(columns["video"].to_pylist())
    known = np.isfinite(logits).all(1)
    labels = np.where(known, np.nan_to_num(logits).argmax(1), -1)
    return {str(video): _mode(labels[(videos == video) & known]) for video in np.unique(videos[known])}


def _mode(labels: NDArray[np.int64]) -> int:
    return int(np.bincount(labels, minlength=len(CLASSES)).argmax())


def tell(name: str, answers: Answers, truth: Answers) -> None:
    """Prints how many answers are right; a clip without an answer is wrong."""
    right = sum(answers.get(video) == label for video, label in truth.items())
    low, high = wilson(right, len(truth))
    silent = len(truth.keys() - answers.keys())
    without = f", {silent} without an answer" if silent else ""
    print(f"\n{name}: {right} of {len(truth)} ({right / len(truth):.0%}, 95 % {low:.0%} to {high:.0%}){without}")
    confusion = np.zeros((len(CLASSES), len(CLASSES)), int)
    for video, label in truth.items():
        if video in answers:
            confusion[label, answers[video]] += 1
    print(f"{'true, then answered':>20} " + " ".join(f"{other[:9]:>9}" for other in CLASSES))
    for label, row in zip(CLASSES, confusion, strict=True):
        print(f"{label:>20} " + " ".join(f"{count or '·':>9}" for count in row))


def truth_of(file: Path) -> Answers:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return {row["video"]: CLASSES.index(row["class"]) for row in csv.DictReader(stream)}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    truth = truth_of(options.labels)
    visual, audio = features(options)
    tell("image, the encoder's head", most_frequent(visual), truth)
    tell("image, fusion network", fused(options, "image", "--visual", visual), truth)
    tell("audio, fusion network", fused(options, "audio", "--audio", audio), truth)
    tell("image and audio, affcli label", labelled(options), truth)


def parsed(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("clips", "labels", "out"):
        parser.add_argument(name, type=Path)
    for name in ("--visual-model", "--audio-model", "--model"):
        parser.add_argument(name, default="mini")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
