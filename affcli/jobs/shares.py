"""Several processes that make one table: which inputs are whose."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from affcli.errors import UsageError
from affcli.files.inputs import MediaInput


@dataclass(frozen=True)
class Share:
    """The work of process `rank` of `size`."""

    rank: int = 0
    size: int = 1
    by_torchrun: bool = False  # which takes any status but 0 for a death, ends the others and starts all again

    @classmethod
    def given_by(cls, environment: Mapping[str, str] = os.environ) -> Share:
        """As RANK and WORLD_SIZE say, which torchrun sets; else everything. Raises UsageError if they make no sense."""
        size, rank = environment.get("WORLD_SIZE", "1"), environment.get("RANK", "0")
        if not (size.isdecimal() and rank.isdecimal() and int(rank) < int(size)):
            raise UsageError(f"RANK={rank} and WORLD_SIZE={size} in the environment name no process 0 to N − 1 of N.")
        return cls(int(rank), int(size), by_torchrun="TORCHELASTIC_RUN_ID" in environment and int(size) > 1)

    @property
    def speaks(self) -> bool:
        """Whether this process says what all of them would say."""
        return self.rank == 0 or not self.by_torchrun

    def of(self, inputs: Sequence[MediaInput]) -> list[MediaInput]:
        """This process's inputs, in their order. Each in turn, the largest first, goes to the process with least."""
        if self.size == 1:
            return list(inputs)
        loads = [0] * self.size
        mine = set()
        for item in sorted(inputs, key=lambda item: (-_size(item), item.video)):
            owner = loads.index(min(loads))
            loads[owner] += max(1, _size(item))
            if owner == self.rank:
                mine.add(item)
        return [item for item in inputs if item in mine]


ALONE: Final = Share()


def _size(item: MediaInput) -> int:
    """Bytes of a file, entries of a folder of pictures; 0 for what cannot be looked at."""
    try:
        return item.path.stat().st_size if item.kind == "file" else len(os.listdir(item.path))  # noqa: PTH208 - for speed
    except OSError:
        return 0
