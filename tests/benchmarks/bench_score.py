"""`affcli score`, intervals included, against pandas with scikit-learn's `classification_report`, as whole processes.

python tests/benchmarks/bench_score.py [FOLDER]     (FOLDER keeps the synthetic tables; default: a temporary one)

317 videos and 1.56 million frames with a label file each. The usual script reads the table, reads and joins the label
files and prints the report, without an interval. Target: at least 5 times faster.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import affcli, in_folder, medians, python, run, verdict
from tables import frame_logits, lengths

from affcli.schema import CLASSES

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


def main(folder: Path) -> bool:
    """Prints the ratio; true where the target is met."""
    table, labels = frame_logits(folder), label_folder(folder)
    ours, usual = affcli("score", table, "--labels", labels), python(USUAL, table, labels)
    mine, theirs = medians(lambda: run(ours), lambda: run(usual))
    return verdict(f"pandas and scikit-learn {theirs:.2f} s / score {mine:.2f} s", theirs / mine, least=5)


if __name__ == "__main__":
    in_folder(main)
