"""Fixed shares of the inputs, for machines without a common disk: shard K of N, K from 0, is every N-th input.

Processes that share a disk need none: each takes the next input that no other has (claims.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from affcli.errors import UsageError
from affcli.files.inputs import MediaInput

_GIVEN: Final = re.compile(r"(?:(?P<auto>auto)|(?P<number>\d+))(?:/(?P<of>\d+))?")


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `of`, from 0."""

    number: int
    of: int

    @classmethod
    def of_text(cls, text: str, environment: Mapping[str, str] = os.environ) -> Shard:
        """`K/N`; `auto` as SLURM's variables of an array say, `auto/N` for a part of an array of N numbered from 0.

        Raises UsageError for what is none, and for an array of which it cannot be told that it is whole.
        """
        found = _GIVEN.fullmatch(text)
        if found is None or not (found["auto"] or found["of"]):
            raise UsageError(f"--shard {text}: give K/N with K from 0, such as 0/8 to 7/8; auto; or auto/N.")
        of = None if found["of"] is None else int(found["of"])
        shard = _of_slurm(of, environment) if found["auto"] else cls(int(found["number"]), of or 0)
        if not 0 <= shard.number < shard.of:
            raise UsageError(f"--shard {text}: shard {shard.number} of {shard.of} does not exist; K is 0 to N − 1.")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part(self, inputs: Sequence[MediaInput]) -> list[MediaInput]:
        """The inputs of this shard."""
        return list(inputs[self.number :: self.of])


def _of_slurm(of: int | None, environment: Mapping[str, str]) -> Shard:
    task = _number("ID", environment)
    if task is None:
        raise UsageError("--shard auto: SLURM_ARRAY_TASK_ID is not set; start an array with sbatch --array=0-7.")
    first, last = (found if (found := _number(name, environment)) is not None else task for name in ("MIN", "MAX"))
    if of is not None:
        if not 0 <= first <= last < of:
            raise UsageError(
                f"--shard auto/{of}: the array's numbers go from {first} to {last}; use 0 to {of - 1}, all or some."
            )
        return Shard(task, of)
    step, count = _number("STEP", environment) or 1, _number("COUNT", environment)
    if step != 1 or (count is not None and count != last - first + 1):
        raise UsageError(
            f"--shard auto: the array is not contiguous (from {first} to {last}), so videos would be left out. To run "
            "a part of an array of N again, number it from 0 and give --shard auto/N."
        )
    if first > 1:
        raise UsageError(
            f"--shard auto: the array begins at {first}. If it is a part of an array of N numbered from 0, give "
            "--shard auto/N; else number it from 0."
        )
    return Shard(task - first, last - first + 1)


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(f"SLURM_ARRAY_TASK_{name}", "")
    if text and not text.isdecimal():
        raise UsageError(f"--shard auto: SLURM_ARRAY_TASK_{name}={text} is no number.")
    return int(text) if text else None
