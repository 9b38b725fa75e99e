"""Which of several processes this one is. They need no shares: each takes the inputs that no other works on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from affcli.errors import UsageError


@dataclass(frozen=True)
class Share:
    """Process `rank` of `size`."""

    rank: int = 0
    size: int = 1
    by_torchrun: bool = False  # which treats any status but 0 as a crash, ends the others and starts all again

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
