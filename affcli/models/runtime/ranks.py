"""Several processes as one trainer: what `torchrun --nproc-per-node N -m affcli train …` starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process's number and how many there are; alone, every exchange is free and changes nothing."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """The process that writes files and speaks."""
        return self.rank == 0

    def share(self, items: Tensor) -> Tensor:
        """This process's part of a batch."""
        return items[self.rank :: self.size]

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def total_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sums the gradients of all processes: one exchange for all parameters."""
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in trained]
        flat = self.total(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, part in zip(trained, torch.split(flat, [p.numel() for p in trained]), strict=True):
            parameter.grad = part.view_as(parameter)

    def average(self, buffers: Iterable[Tensor]) -> None:
        """Replaces floating-point buffers by their mean over all processes; counts are left alone."""
        if self.size == 1:
            return
        for buffer in buffers:
            if buffer.is_floating_point():
                buffer.copy_(self.total(buffer.clone()) / self.size)

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, connected (gloo between processors, nccl between GPUs); or just this one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
