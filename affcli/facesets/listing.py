"""What face sets hold, before a single picture is decoded: where the pictures are, and their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.console.printing import Grid
from affcli.errors import counted, listed
from affcli.schema import CLASSES

TRAIN, HELD_OUT, TEST = "train", "held out", "test"
HOLDOUT: Final = 0.1  # of sets that come without parts of their own
OTHER: Final = CLASSES.index("Other")
_ONE_HOT: Final = np.eye(len(CLASSES), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one picture is: in a file of its own; `box` is the face in it (x, y, width, height), where the set says so.

    With `span` (first byte, bytes) the file is a text, and there stand grey values from 0 to 255, row by row. With
    `cell` (row group, row) it is a Parquet file, and there stands the picture's own file.
    """

    path: str
    box: tuple[int, int, int, int] | None = None
    span: tuple[int, int] | None = None
    cell: tuple[int, int] | None = None

    @property
    def facts(self) -> tuple[object, ...]:
        """All but the path, as a tuple."""
        return (self.box, self.span) if self.cell is None else (self.box, self.span, self.cell)


@dataclass(frozen=True, eq=False)
class Labelled:
    """n pictures: `targets` float32 [n, 8] class probabilities; `source` int16 [n] the face set; `group` int32 [n].

    A group is what must not drown others when pictures are drawn: a face set, or one video among many.
    """

    origins: tuple[Origin, ...]
    targets: NDArray[np.float32]
    source: NDArray[np.int16]
    group: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def labels(self) -> NDArray[np.int64]:
        """[n]: the most probable class, the first on a tie."""
        return np.asarray(self.targets.argmax(axis=1))

    def take(self, rows: NDArray[np.integer]) -> Labelled:
        """The pictures at these rows, in this order."""
        origins = tuple(self.origins[row] for row in rows)
        return Labelled(origins, self.targets[rows], self.source[rows], self.group[rows])


NOTHING: Final = Labelled((), np.empty((0, len(CLASSES)), np.float32), np.empty(0, np.int16), np.empty(0, np.int32))


def joined(parts: Sequence[Labelled]) -> Labelled:
    """All pictures of several lists, one list after the other."""
    return Labelled(
        tuple(origin for part in parts for origin in part.origins),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.group for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class Listing:
    """The pictures to train on, and those held out; `unused` are parts of sets that are for neither (a test part)."""

    sources: tuple[str, ...]
    train: Labelled
    held_out: Labelled
    unused: Labelled = NOTHING
    title: str = ""  # of its table
    counted: str = "pictures"

    def __len__(self) -> int:
        """The pictures that will be decoded."""
        return len(self.train) + len(self.held_out)

    def table(self) -> Grid:
        """Pictures of each class, by set and part; a picture with a soft label counts for its most probable class."""
        parts = {"train": self.train, "held out": self.held_out, "not used": self.unused}
        rows = [
            _row(f"{source}, {name}", part.labels[part.source == number])
            for number, source in enumerate(self.sources)
            for name, part in parts.items()
            if (part.source == number).any()
        ]
        totals = [_row(f"all, {name}", part.labels) for name, part in parts.items() if len(part)]
        return Grid(
            self.title, (self.counted, *CLASSES, "all"), tuple(rows + (totals if len(self.sources) > 1 else []))
        )


def _row(name: str, labels: NDArray[np.int64]) -> tuple[str, ...]:
    counts = np.bincount(labels, minlength=len(CLASSES))
    return (name, *(f"{count:,}" for count in counts), f"{len(labels):,}")


class Shelf:
    """Takes a face set's pictures one by one, and counts what is left out and why."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._origins: dict[str, list[Origin]] = {TRAIN: [], HELD_OUT: [], TEST: []}
        self._targets: dict[str, list[NDArray[np.float32]]] = {TRAIN: [], HELD_OUT: [], TEST: []}
        self._left_out: Counter[str] = Counter()
        self.absent: Path | None = None  # the first picture that should be there and is not

    def add(self, part: str, origin: Origin, target: int | NDArray[np.float32]) -> None:
        """`target` is a class number or the probabilities [8] of the classes."""
        self._origins[part].append(origin)
        self._targets[part].append(_ONE_HOT[target] if isinstance(target, int) else target)

    def leave_out(self, reason: str) -> None:
        """Counts a picture that is left out, by reason."""
        self._left_out[reason] += 1

    def leave_out_absent(self, path: Path) -> None:
        """A picture that has a label, and is not there."""
        self.absent = self.absent or path
        self.leave_out("that have a label are not there")

    @property
    def empty(self) -> bool:
        """Whether no picture was taken."""
        return not any(self._origins.values())

    @property
    def note(self) -> str | None:
        """What was left out, in one line."""
        if not self._left_out:
            return None
        reasons = listed([f"{count:,} {reason}" for reason, count in self._left_out.most_common()])
        return f"{self.name}: {counted(self._left_out.total(), 'picture')} left out: {reasons}."

    def part(self, part: str, number: int) -> Labelled:
        """One part's pictures in the order they came, as those of set number `number`."""
        origins = tuple(self._origins[part])
        targets = np.array(self._targets[part], np.float32).reshape(-1, len(CLASSES))
        return Labelled(
            origins, targets, np.full(len(origins), number, np.int16), np.full(len(origins), number, np.int32)
        )
