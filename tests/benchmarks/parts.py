"""What each part of the method buys on synthetic data (see synthetic.py): macro F1 on held-out videos.

python tests/benchmarks/parts.py [SEEDS]     (default 3; about 2 minutes of one core each; figures: RESULTS.md)

Every seed draws its own data and its own network; each line leaves one part out, or changes it, on the same data. The
first line has means over the seeds ± their standard deviation, the others the differences to it, seed by seed. The
network is a small one (d 32, 1 layer), so that it takes minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from experiments import Data, Figures, network_of, predicted, trained

from affcli.models.fusion.network import FusionConfig
from affcli.models.fusion.trainer import TrainingOptions

STRIDE, KERNEL = 32, 11  # windows of training every 32 frames: epochs are short, and there are more of them
NETWORK = network_of(dim=32, layers=1, heads=2)
OPTIONS = TrainingOptions(
    modality_dropout=0.1,
    audio_dropout=0.0,
    gamma=2.0,
    class_weights="none",
    stride=STRIDE,
    epochs=12,
    patience=0,
    lr=1e-3,
    weight_decay=0.01,
    batch_size=32,
    seed=0,
)
ALL = "all parts"
TRAINED: dict[str, tuple[FusionConfig, TrainingOptions]] = {
    ALL: (NETWORK, OPTIONS),
    "no modality dropout (p 0)": (NETWORK, replace(OPTIONS, modality_dropout=0.0)),
    "modality dropout p 0.3": (NETWORK, replace(OPTIONS, modality_dropout=0.3)),
    "cross-entropy (γ 0)": (NETWORK, replace(OPTIONS, gamma=0.0)),
    "no gates": (replace(NETWORK, gates=False), OPTIONS),
    "no cross-attention": (replace(NETWORK, cross_attention=False), OPTIONS),
}
KERNELS = (1, 31, 101)
Line = tuple[str, Figures, Figures]  # what, with pictures, without any


def lines(seed: int) -> Iterator[Line]:
    """The table's lines for one draw of data."""
    data = Data.draw(seed, stride=STRIDE)
    for name, (config, options) in TRAINED.items():
        network = trained(config, replace(options, seed=seed), data)
        logits = predicted(network, data.test), predicted(network, data.without_pictures)
        yield (name, *(Figures.of(data.test, of, kernel=KERNEL) for of in logits))
        if name == ALL:
            single = (predicted(network, test, stride=64) for test in (data.test, data.without_pictures))
            yield ("no voting (windows every 64)", *(Figures.of(data.test, of, kernel=KERNEL) for of in single))
            for kernel in KERNELS:
                what = f"median over {kernel}" if kernel > 1 else "no median"
                yield (what, *(Figures.of(data.test, of, kernel=kernel) for of in logits))


def spread(values: np.ndarray, *, sign: str = "") -> str:
    """Mean ± standard deviation; of one value, the value."""
    return f"{values.mean():{sign}.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def table(found: dict[str, np.ndarray]) -> Iterator[str]:
    """Markdown lines of [seeds, 3] figures by name: macro F1, that of the rare classes, macro F1 without pictures."""
    yield "| | macro F1 | rare classes only | no pictures at all |"
    yield "|---|---|---|---|"
    whole = found[ALL]
    yield f"| {ALL} | " + " | ".join(spread(column) for column in whole.T) + " |"
    for name in list(found)[1:]:
        yield f"| {name} | " + " | ".join(spread(column, sign="+") for column in (found[name] - whole).T) + " |"


def main(seeds: int) -> None:
    torch.set_num_threads(1)
    found: dict[str, list[list[float]]] = {}
    began = time.process_time()
    for seed in range(seeds):
        for name, figures, blind in lines(seed):
            found.setdefault(name, []).append([figures.macro_f1, figures.rare_f1, blind.macro_f1])
            print(f"seed {seed}: {name}: {figures} {blind.macro_f1:.3f}", file=sys.stderr, flush=True)
    print(*table({name: np.array(rows) for name, rows in found.items()}), sep="\n")
    print(f"\n{seeds} seeds, {(time.process_time() - began) / 60:.0f} minutes of one core")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
