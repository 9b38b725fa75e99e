"""Private operators of torch, used nowhere else: weights in the order in which the processor multiplies by them.

To do without them, delete this file and the call of `pack_once` in devices.py; nothing but speed is lost.

A matrix product in bf16 sorts its weights anew in each pass. oneDNN can do so beforehand; torch has that for what it
compiles, under names that are not promised to stay, so where they are missing all is as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def pack_once(network: nn.Module, outcome: Callable[[], Tensor]) -> bool:
    """Sorts the weights of the network's bf16 products now; the network is only to run, on a processor.

    The plain weights stay beside the sorted ones, for networks that read them. If `outcome`, which runs the network,
    gives other bits afterwards, or fails, all is left as it was, and False comes back.
    """
    plain = [module for module in network.modules() if type(module) is nn.Linear]
    products = [product for product in plain if product.weight.dtype == torch.bfloat16]
    if not products or not _can_pack():
        return False
    before = outcome()
    try:
        for product in products:
            product.__dict__["forward"] = _packed(product)  # as the instance's own
        same = torch.equal(before, outcome())
    except RuntimeError:
        same = False
    if not same:
        for product in products:
            product.__dict__.pop("forward", None)
    return same


def _can_pack() -> bool:
    return all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def _packed(product: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = torch.ops.mkldnn._reorder_linear_weight(product.weight.detach())
    bias = None if product.bias is None else product.bias.detach()

    def forward(values: Tensor) -> Tensor:
        if values.dtype != torch.bfloat16:
            return nn.functional.linear(values, product.weight, product.bias)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
        return result

    return forward
