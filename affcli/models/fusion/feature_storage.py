"""Where the features lie while a network is trained: in memory, or in a file that is mapped into it.

A mapped file has no name: it takes room beside the output, and is gone with the process, however that ends.
"""

from __future__ import annotations

import logging
import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.files.free_memory import free_memory

log = logging.getLogger(__name__)

KINDS = ("auto", "memory", "disk")
_SHARE = 0.5  # of the memory that is free, which features may take before they go to disk
_HALF = np.dtype(np.float16)


class Rows:
    """Features of many frames, [rows, size] in half precision, in memory. First all are put, then `tensor` is read."""

    def __init__(self, rows: int, size: int) -> None:
        self._array = np.empty((rows, size), _HALF)  # every row is put, so none is zeroed first
        self.tensor = torch.from_numpy(self._array)

    def put(self, first: int, features: NDArray[np.float16]) -> None:
        """Writes rows from number `first` on: float16 [n, size]."""
        # By numpy: torch's copy waits for all of its threads, which takes long where others use the processor too.
        self._array[first : first + len(features)] = features

    def finish(self) -> None:
        """To be called when all rows are put."""

    def release(self) -> None:
        """Lets go of what has been read and can be read again."""


class MappedRows(Rows):
    """The same in a file without a name in `folder`. What is read of it stays in this process until `release`."""

    def __init__(self, rows: int, size: int, folder: Path) -> None:
        self._shape, self._folder = (rows, size), folder
        try:
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as its rows
        except OSError as error:
            raise self._failure(error) from error

    def put(self, first: int, features: NDArray[np.float16]) -> None:
        """Writes rows from number `first` on: float16 [n, size]. Raises AffcliError on a full disk."""
        try:
            self.file.seek(first * self._shape[1] * _HALF.itemsize)
            self.file.write(np.ascontiguousarray(features).data)
        except OSError as error:
            raise self._failure(error) from error

    def finish(self) -> None:
        """Maps the file into memory; no rows can be written after it."""
        rows, size = self._shape
        try:
            self.file.flush()
            self._map = mmap.mmap(self.file.fileno(), rows * size * _HALF.itemsize)
        except OSError as error:
            raise self._failure(error) from error
        self.tensor = torch.from_numpy(np.frombuffer(self._map, _HALF).reshape(rows, size))

    def release(self) -> None:
        """Gives the mapped pages back to the system, which still has them cached."""
        # The pages stay in the system's cache, which gives them up when memory is wanted.
        self._map.madvise(mmap.MADV_DONTNEED)

    def _failure(self, error: OSError) -> AffcliError:
        size = self._shape[0] * self._shape[1] * _HALF.itemsize
        return AffcliError(
            f"{self._folder}: no room for {size / 1e9:.1f} GB of features ({error.strerror}). Free some, or write the "
            "model to another disk."
        )


@dataclass(frozen=True)
class Storage:
    """Gives room for features: in memory, on disk, or (auto) on disk where they take more than half of the memory
    that is free. The numbers are the same, and so is everything computed from them.
    """

    kind: str = "memory"  # one of KINDS
    folder: Path = Path()  # where a mapped file takes its room

    def room(self, rows: int, sizes: tuple[int, int]) -> tuple[Rows, Rows]:
        """Room for the features of both streams of `rows` frames, which are `sizes` numbers long."""
        needed = rows * sum(sizes) * _HALF.itemsize
        if self.kind == "disk" or (self.kind == "auto" and self._are_too_many(needed)):
            return MappedRows(rows, sizes[0], self.folder), MappedRows(rows, sizes[1], self.folder)
        return Rows(rows, sizes[0]), Rows(rows, sizes[1])

    def _are_too_many(self, needed: int) -> bool:
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun; each holds all features
        free = free_memory()
        if needed * processes <= _SHARE * free:
            return False
        log.warning(
            "the features take %.1f GB, more than half of the %.1f GB of free memory: they lie in a file in %s "
            "while training lasts (--storage memory keeps them in memory).",
            needed * processes / 1e9,
            free / 1e9,
            self.folder.resolve(),
        )
        return True


MEMORY = Storage()
