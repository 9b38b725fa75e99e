"""Training options tried on synthetic data of Aff-Wild2's imbalance at 1/30 of its size (see synthetic.py).

python tests/benchmarks/defaults.py [SEEDS] [WORDS] [DIM]  (2 seeds of 5 minutes of one core; figures: RESULTS.md)

One option at a time is changed; each line is macro F1 on held-out videos, the mean over the seeds ± their standard
deviation. WORDS leaves only the settings whose names hold them, such as "lr". DIM is 32, with 1 layer, or for example
256, with the paper's 3 layers, which takes 30 times as long. A step is 32 windows, an epoch 26 steps (Aff-Wild2 has
4,300): this tells which way an option pulls, not its best value there.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch
from experiments import Data, Figures, predicted, trained
from parts import KERNEL, NETWORK, OPTIONS, STRIDE, spread

from affcli.models.fusion.network import FusionConfig
from affcli.models.fusion.trainer import TrainingOptions

BASE = "lr 1e-3, 12 epochs, batch 32, dropout 0.1, weight decay 0.01"
SETTINGS: dict[str, tuple[FusionConfig, TrainingOptions]] = {
    BASE: (NETWORK, OPTIONS),
    **{f"lr {lr}": (NETWORK, replace(OPTIONS, lr=float(lr))) for lr in ("1e-4", "3e-4", "3e-3")},
    "dropout 0.3": (replace(NETWORK, dropout=0.3), OPTIONS),
    "dropout 0": (replace(NETWORK, dropout=0.0), OPTIONS),
    **{f"weight decay {decay:g}": (NETWORK, replace(OPTIONS, weight_decay=decay)) for decay in (0.0, 0.1)},
    **{f"batch {size}": (NETWORK, replace(OPTIONS, batch_size=size)) for size in (16, 64)},
    "balanced class weights": (NETWORK, replace(OPTIONS, class_weights="balanced")),
    **{f"lr {lr}, 30 epochs": (NETWORK, replace(OPTIONS, lr=float(lr), epochs=30)) for lr in ("1e-4", "1e-3")},
}


def main(seeds: int = 2, words: str = "", dim: int = NETWORK.dim) -> None:
    torch.set_num_threads(1)
    paper = {"dim": dim, "layers": 3, "heads": 8} if dim != NETWORK.dim else {}
    found: dict[str, list[float]] = {name: [] for name in SETTINGS if words in name}
    for seed in range(seeds):
        data = Data.draw(seed, stride=STRIDE)
        for name, values in found.items():
            config, options = SETTINGS[name]
            network = trained(replace(config, **paper), replace(options, seed=seed), data)
            figures = Figures.of(data.test, predicted(network, data.test), kernel=KERNEL)
            values.append(figures.macro_f1)
            print(f"seed {seed}: {name}: {figures}", file=sys.stderr, flush=True)
    for name, values in found.items():
        print(f"| {name} | {spread(np.array(values))} |")


if __name__ == "__main__":
    main(*(kind(given) for kind, given in zip((int, str, int), sys.argv[1:], strict=False)))
