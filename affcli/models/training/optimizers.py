"""An optimiser that changes early layers of an encoder less than late ones, and an average of the weights it makes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from affcli.errors import AffcliError

# Members of the lists of blocks of vision transformers and convolutional networks, whatever they are called.
_IN_A_LIST = re.compile(r"(?:^|\.)(?:layers?|blocks?|stages?)\.(\d+)(?=\.)")
_LEVELS = 2  # a block of a stage; what a block's own lists hold belongs to the block
_NOT_DECAYED = re.compile(r"bias|token|position|pos_embed|lambda")


def depths(names: Sequence[str]) -> list[int]:
    """How deep each parameter of a network lies: 0 the embeddings, 1 … L the blocks, L + 1 what comes after them.

    `names` are in the order of the network's `named_parameters`, which is that of its layers: what belongs to no block
    comes before or after them; what a stage has beside its blocks (a merging of patches) is a block of its own.
    """
    places = [tuple(_IN_A_LIST.findall(name)[:_LEVELS]) for name in names]
    blocks = {place: depth for depth, place in enumerate(dict.fromkeys(place for place in places if place), start=1)}
    first = next((index for index, place in enumerate(places) if place), len(places))
    after = len(blocks) + 1
    return [blocks[place] if place else (0 if index < first else after) for index, place in enumerate(places)]


def parameter_groups(
    parameters: Iterable[tuple[str, torch.nn.Parameter]], *, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser, each with `scale`, its part of the rate: layer_decay^(L + 1 − depth); `matrices` says
    that a group holds matrices of one of the blocks.

    Biases, norms, layer scales, tokens and tables of positions are not decayed. (Both as BEiT is fine-tuned: Bao et al.
    2022, appendix; the rates are Clark et al.'s, 2020.)
    """
    named = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    deep = depths([name for name, _ in named])
    groups: dict[tuple[int, bool, bool], dict[str, Any]] = {}
    for (name, parameter), depth in zip(named, deep, strict=True):
        decayed = parameter.ndim > 1 and not _NOT_DECAYED.search(name)
        matrix = decayed and parameter.ndim == 2 and 0 < depth < max(deep)
        group: dict[str, Any] = {
            "weight_decay": weight_decay if decayed else 0.0,
            "scale": layer_decay ** (max(deep) - depth),
        }
        group |= {"params": [], "matrices": matrix}
        groups.setdefault((depth, decayed, matrix), group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


class MuonAndAdamW:
    """Two optimisers as one: Muon for the matrices of an encoder's blocks, AdamW for all else (as Muon's authors do).

    Muon makes the singular values of a matrix's step alike (Jordan et al. 2024); scaled to the usual length of AdamW's
    (Liu et al. 2025), so that rates and decays mean the same. From scratch it needs about half the epochs.
    `groups` are those of `parameter_groups`. Raises AffcliError where torch, before 2.9, has no Muon.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, lr: float, fused: bool) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise AffcliError(f"--optimizer muon needs torch 2.9 or newer; this is {torch.__version__}.")
        matrices = [group for group in groups if group["matrices"]]
        others = [group for group in groups if not group["matrices"]]
        if not matrices:
            raise AffcliError("--optimizer muon: this encoder has no blocks with matrices; take adamw.")
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, fused=fused),
        ]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both optimisers."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Clears all gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """One step of both optimisers."""
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """As one optimiser's: parameters are numbered through."""
        states, groups, first = {}, [], 0
        for optimizer in self._optimizers:
            own = optimizer.state_dict()
            states.update({first + number: state for number, state in own["state"].items()})
            groups += _renumbered(own["param_groups"], first)
            first += sum(len(group["params"]) for group in own["param_groups"])
        return {"state": states, "param_groups": groups}

    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        groups, first = list(stored["param_groups"]), 0
        for optimizer in self._optimizers:
            own, groups = groups[: len(optimizer.param_groups)], groups[len(optimizer.param_groups) :]
            count = sum(len(group["params"]) for group in own)
            state = {n - first: state for n, state in stored["state"].items() if first <= n < first + count}
            optimizer.load_state_dict({"state": state, "param_groups": _renumbered(own, -first)})
            first += count


def _renumbered(groups: Sequence[dict[str, Any]], first: int) -> list[dict[str, Any]]:
    return [{**group, "params": [first + number for number in group["params"]]} for group in groups]


TensorList = tuple[Tensor, ...] | list[Tensor]

OPTIMIZERS = {"adamw": torch.optim.AdamW, "muon": MuonAndAdamW}


def set_rate(optimizer: torch.optim.Optimizer | MuonAndAdamW, rate: float) -> None:
    """Every group of `parameter_groups` gets its part of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


class Average:
    """The exponential moving average of a network's weights over the steps of its training.

    After step t it keeps min(decay, (1 + t) / (10 + t)) of itself, so that what the network began with is forgotten
    soon; numbers that are not averaged (counts of batches) are the network's.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._network, self._decay, self._step = network, decay, 0
        self._averaged = AveragedModel(network, multi_avg_fn=self._mix, use_buffers=True)
        self._averaged.n_averaged.fill_(1)  # at 0 it would copy the first step's weights instead of averaging them

    @property
    def network(self) -> Any:
        """A copy of the network, with the averaged weights."""
        return self._averaged.module

    @property
    def weights(self) -> dict[str, Tensor]:
        """The averaged `state_dict`; its tensors are those that `update` changes."""
        return self._averaged.module.state_dict()

    def buffers(self) -> Iterator[Tensor]:
        """The averaged buffers, such as the statistics of batch norms."""
        return self._averaged.module.buffers()

    def update(self, step: int) -> None:
        """Takes the network's weights after step number `step`, which counts from 0, into the average."""
        self._step = step
        self._averaged.update_parameters(self._network)

    def _mix(self, own: TensorList, theirs: TensorList, taken: Tensor | int) -> None:
        """Mixes tensors of one type. (To read `taken` would make a GPU wait; the step is known without it.)"""
        if own[0].is_floating_point():
            kept = min(self._decay, (1 + self._step) / (10 + self._step))
            torch._foreach_lerp_(own, theirs, 1 - kept)
        else:
            torch._foreach_copy_(own, theirs)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Continues from an average that was kept."""
        self._averaged.module.load_state_dict(weights)
