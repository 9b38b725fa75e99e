"""`affcli smooth` on 1.56 million frames: the median itself against scipy's, the process against pandas with scipy.

python tests/benchmarks/bench_smooth.py [FOLDER]     (FOLDER keeps the synthetic tables; default: a temporary one)

Targets: the median at least 4 times faster than `scipy.ndimage.median_filter(size=(11, 1))` on the same array; kernel
1001 at most 10 times kernel 11; as a whole process at least 3 times faster than pandas' `groupby().apply` with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from measure import affcli, in_folder, medians, python, run, verdict
from scipy.ndimage import median_filter
from tables import frame_logits

from affcli.predictions.smooth import median
from affcli.schema import CLASSES

PANDAS = """
import sys
import pandas as pd
from scipy.ndimage import median_filter
classes = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()
table = pd.read_parquet(sys.argv[1])
smooth = lambda rows: pd.DataFrame(median_filter(rows.to_numpy(), size=(11, 1), mode="nearest"), rows.index, classes)
table[classes] = table.groupby("video", group_keys=False)[classes].apply(smooth)
table["label"] = table[classes].idxmax(axis=1)
table.to_parquet(sys.argv[2])
"""


def main(folder: Path) -> bool:
    """Prints the ratios; true where all targets are met."""
    source = frame_logits(folder)
    return all([the_filter(source), whole_process(source)])


def the_filter(source: Path) -> bool:
    table = pq.read_table(source, columns=list(CLASSES)).slice(0, 300_000)
    frames = np.column_stack([column.to_numpy() for column in table.columns])  # [n, 8] float32, as scipy gets it
    seen = np.ones(frames.T.shape, bool)

    def ours(kernel: int) -> np.ndarray:
        return median(np.ascontiguousarray(frames.T), kernel, seen).T

    def theirs() -> np.ndarray:
        return np.asarray(median_filter(frames, size=(11, 1), mode="nearest"))

    assert np.array_equal(ours(11), theirs())
    short, long, scipy = medians(lambda: ours(11), lambda: ours(1001), theirs)
    faster = verdict(f"scipy's median {scipy:.3f} s / ours {short:.3f} s", scipy / short, least=4)
    return verdict(f"kernel 1001 {long:.3f} s / kernel 11 {short:.3f} s", long / short, most=10) and faster


def whole_process(source: Path) -> bool:
    output = source.with_name("smoothed.parquet")
    ours = affcli("smooth", source, "-o", output, "-f")
    usual = python(PANDAS, source, output.with_suffix(".pandas"))
    mine, theirs = medians(lambda: run(ours), lambda: run(usual))
    return verdict(f"pandas and scipy {theirs:.2f} s / smooth {mine:.2f} s, whole processes", theirs / mine, least=3)


if __name__ == "__main__":
    in_folder(main)
