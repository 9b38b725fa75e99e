"""`affcli score`, intervals included, against pandas with scikit-learn's `classification_report`, as whole processes.

    python tests/benchmarks/bench_score.py [FOLDER]     (FOLDER keeps the synthetic tables; default: a temporary one)

317 videos and 1.56 million frames with a label file each. The report is that of the usual script: read the table, read
and join the label files, print the report; no interval. Target: at least 5 times faster, medians of 5 runs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import frame_logits, lengths

from affcli.schema import CLASSES

TARGET = 5.0
RUNS = 5

USUAL = """
import sys
from pathlib import Path
import pandas as pd
from sklearn.metrics import classification_report

table, labels = sys.argv[1:]
predicted = pd.read_parquet(table)
truth = []
for path in Path(labels).glob("*.txt"):
    numbers = pd.read_csv(path, skiprows=1, names=["truth"])
    truth.append(numbers.assign(video=path.stem, frame=range(1, len(numbers) + 1)))
joined = pd.concat(truth).merge(predicted[["video", "frame", "label"]], on=["video", "frame"])
joined = joined[joined.truth >= 0]
classes = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()
numbers = joined.label.map({name: i for i, name in enumerate(classes)})
print(classification_report(joined.truth, numbers, labels=range(8), target_names=classes, zero_division=0))
"""


def label_folder(folder: Path) -> Path:
    """A label file a video: runs of one class, three frames in ten not annotated, one line more than frames."""
    labels = folder / "labels"
    labels.mkdir(exist_ok=True)
    numbers = np.random.default_rng(2)
    for index, count in enumerate(lengths()):
        runs = numbers.choice([-1, *range(8)], count // 50 + 2, p=[0.3, *[0.7 / 8] * 8])
        lines = np.repeat(runs, 50)[: count + 1]
        text = "\n".join([",".join(CLASSES), *map(str, lines)]) + "\n"
        (labels / f"{index:03d}-30-1280x720.txt").write_text(text)
    return labels


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(folder: Path) -> int:
    table, labels = str(frame_logits(folder)), str(label_folder(folder))
    ours = [sys.executable, "-m", "affcli", "score", table, "--labels", labels]
    usual = [sys.executable, "-c", USUAL, table, labels]
    times = [(seconds(ours), seconds(usual)) for _ in range(RUNS)]
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = theirs / mine
    print(f"score: {mine:.2f} s, pandas and scikit-learn {theirs:.2f} s: {ratio:.1f} times faster (target {TARGET:g})")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
