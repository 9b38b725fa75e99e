"""Half precision without casting the same numbers again and again.

Under autocast every matrix product casts its weights anew in each pass, and its input once for each of the layers that
share it (queries, keys and values do). Cast beforehand, and once, the products are of the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def cast_once(network: nn.Module, dtype: torch.dtype, outcome: Callable[[], torch.Tensor]) -> bool:
    """Casts the weights of the network's products now, and their inputs once; the network stays an autocast one.

    `outcome` runs the network under autocast. If it gives other bits afterwards, as a network could that does more with
    its weights than to multiply by them, all is left as it was, and False comes back.
    """
    before = outcome()
    products = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)]
    weights = [(weight, weight.data) for module in products for weight in module.parameters(recurse=False)]
    for weight, values in weights:
        weight.data = values.to(dtype)
    inputs = _Inputs(dtype)
    hooks = [module.register_forward_pre_hook(inputs.cast) for module in products if isinstance(module, nn.Linear)]
    hooks.append(network.register_forward_hook(inputs.forget, always_call=True))
    if torch.equal(before, outcome()):
        return True
    for hook in hooks:
        hook.remove()
    for weight, values in weights:
        weight.data = values
    return False


class _Inputs:
    """The last input of a product and what it was cast to."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def cast(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[torch.Tensor] | None:
        if len(inputs) != 1 or inputs[0].dtype != torch.float32:
            return None
        if self._last is None or self._last[0] is not inputs[0]:
            self._last = inputs[0], inputs[0].to(self._dtype)
        return (self._last[1],)

    def forget(self, network: nn.Module, inputs: Any, output: Any) -> None:
        self._last = None
