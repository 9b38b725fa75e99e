"""Whether torch itself adds in another order on other numbers of threads: on some processors its products do."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

_HALF_ULPS = {"fp32": 1e-4, "bf16": 0.05}


def equal_for_threads(one: NDArray[np.float32], two: NDArray[np.float32], precision: str) -> bool:
    """Equal to the last bit; no more than close where a bare product of torch is no more than that on this machine."""
    if _products_depend_on_threads(precision):
        return bool(np.abs(one - two).max() < _HALF_ULPS[precision])
    return np.array_equal(one, two)


def _products_depend_on_threads(precision: str) -> bool:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(150, 3072, generator=random)
    weights = torch.randn(384, 3072, generator=random)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                found += [torch.nn.functional.linear(values[:, :size], weights[:, :size]) for size in (1536, 3072)]
    finally:
        torch.set_num_threads(before)
    return not all(torch.equal(one, two) for one, two in zip(found[:2], found[2:], strict=True))
