"""A digest of weights: the same for the same names and bytes, whatever files they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def hash_weights(digest: hashlib.blake2b, weights: Mapping[str, torch.Tensor]) -> None:
    """Takes names and bytes of all tensors, in order of their names, into a digest."""
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
