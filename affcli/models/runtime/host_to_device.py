"""Arrays on their way to a device and back. On a GPU copies go through pinned memory and nobody waits for them.

On a processor nothing is copied, and what is asked for is there at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def stacked(arrays: Sequence[NDArray[Any]], count: int, device: torch.device) -> torch.Tensor:
    """Arrays of one shape and type as the first of `count` rows on the device, the other rows 0.

    The device's copy may still be under way: what is computed from it there waits for it.
    """
    host = np.zeros((count, *arrays[0].shape), arrays[0].dtype)
    np.stack(arrays, out=host[: len(arrays)])
    return on_device(host, device)


def on_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device. torch keeps the pinned memory from being used again before it is read."""
    values = torch.from_numpy(array)
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


class Pending:
    """A tensor on its way from the device. Nothing is waited for before `result()`."""

    def __init__(self, values: torch.Tensor) -> None:
        self._done: torch.cuda.Event | None = None
        if values.device.type != "cuda":
            self._values = values.cpu()
            return
        self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._values.copy_(values, non_blocking=True)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own lack
        self._done.record(torch.cuda.current_stream(values.device))

    def result(self) -> NDArray[Any]:
        """The values, once they are here."""
        if self._done is not None:
            self._done.synchronize()
        return np.asarray(self._values.numpy())
