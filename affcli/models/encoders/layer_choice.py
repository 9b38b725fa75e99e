"""Which hidden layers of an encoder become the feature: the mean of the last N, or every one, kept side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import torch

from affcli.errors import AffcliError

Layers = int | Literal["all"] | None  # None: what the encoder itself asks for

_MEAN: Final = re.compile(r"mean of last (\d+) hidden layers")


def refuse_too_many(layers: Layers, there: int, name: str) -> None:
    """Raises AffcliError for more layers than an encoder has; the embeddings are none of the hidden layers."""
    if isinstance(layers, int) and not 1 <= layers <= there:
        raise AffcliError(f"--layers {layers}: {name} has {there} hidden layers.")


def layers_of_card(card: Mapping[str, Any]) -> Layers:
    """What an encoder's card says that a feature is made of; None where it does not tell."""
    if card.get("layers"):
        return "all"
    found = _MEAN.search(str(card.get("feature")))
    return int(found[1]) if found else None


def chosen_layers(hidden: Sequence[torch.Tensor], layers: int | Literal["all"]) -> torch.Tensor:
    """Vectors [..., size] of all layers → their mean over the last few, or all in a row [..., layers · size]."""
    if layers == "all":
        return torch.cat([layer.float() for layer in hidden], dim=-1)
    return torch.stack([layer.float() for layer in hidden[-layers:]]).mean(0)
