"""Training options tried on synthetic data of Aff-Wild2's imbalance at 1/30 of its size (see synthetic.py).

python tests/benchmarks/defaults.py [SEEDS]     (default 2; about 5 minutes of one core each)

One option at a time is changed; each line is macro F1 on held-out videos, the mean over the seeds ± their standard
deviation. The network is a small one (d 32, 1 layer; a step is 32 windows, an epoch 26 steps), since one with d 256
takes hours on a processor: what is found here is which way the options pull, not their best values on Aff-Wild2, where
an epoch has 4,300 steps.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import torch
from experiments import Data, Figures, predicted, trained
from parts import KERNEL, NETWORK, OPTIONS, STRIDE, spread

from affcli.models.fusion import FusionConfig
from affcli.models.training import TrainingOptions

BASE = "lr 1e-3, 12 epochs, batch 32, dropout 0.1, weight decay 0.01"
SETTINGS: dict[str, tuple[FusionConfig, TrainingOptions]] = {
    BASE: (NETWORK, OPTIONS),
    **{f"lr {lr:g}": (NETWORK, replace(OPTIONS, lr=lr)) for lr in (1e-4, 3e-4, 3e-3)},
    "dropout 0.3": (replace(NETWORK, dropout=0.3), OPTIONS),
    "dropout 0": (replace(NETWORK, dropout=0.0), OPTIONS),
    **{f"weight decay {decay:g}": (NETWORK, replace(OPTIONS, weight_decay=decay)) for decay in (0.0, 0.1)},
    **{f"batch {size}": (NETWORK, replace(OPTIONS, batch_size=size)) for size in (16, 64)},
    "balanced class weights": (NETWORK, replace(OPTIONS, class_weights="balanced")),
    **{f"lr {lr:g}, 30 epochs": (NETWORK, replace(OPTIONS, lr=lr, epochs=30)) for lr in (1e-4, 1e-3)},
}


def main(seeds: int) -> None:
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for seed in range(seeds):
        data = Data.draw(seed, stride=STRIDE)
        for name, (config, options) in SETTINGS.items():
            network = trained(config, replace(options, seed=seed), data)
            figures = Figures.of(data.test, predicted(network, data.test), kernel=KERNEL)
            found[name].append(figures.macro_f1)
            print(f"seed {seed}: {name}: {figures}", file=sys.stderr, flush=True)
    for name, values in found.items():
        print(f"| {name} | {spread(np.array(values))} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
