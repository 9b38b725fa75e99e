"""Decoded pictures in one file that numpy maps into memory; made block by block, so that it may be ended at any moment.

    train-1f….npy        uint8 [n, S, S, 3]          train-1f….json      what became of each listed picture, a digest
    train-1f….growing    the same while it is made   train-1f….journal   a JSON line for each block that is whole

The name holds a fingerprint of the listed pictures and settings: other pictures have another file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.files import outputs

Pixels = NDArray[np.uint8]

_HEADER_BYTES: Final = 128  # of a .npy with four sizes; padded to a multiple of 64


@dataclass(frozen=True, eq=False)
class Decoded:
    """`pixels` of the pictures that were kept; `fates` a letter for each that was listed (`preparing`); a `digest`."""

    pixels: Pixels
    fates: str
    digest: str


def finished(path: Path) -> Decoded | None:
    """The file if it is complete and whole."""
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        return Decoded(np.load(path, mmap_mode="r"), facts["fates"], facts["digest"])
    except (OSError, ValueError, KeyError):
        return None


class PixelWriter:
    """Writes the file `path`, from where the last process ended that wrote it. `fates` are those so far."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._growing, self._journal = path.with_suffix(".growing"), path.with_suffix(".journal")
        with storage(path):
            self._blocks = self._known_blocks()
            outputs.write_bytes(self._journal, b"".join(map(_line, self._blocks)))
            self._data: BinaryIO = self._growing.open("r+b" if self._blocks else "w+b")
            self._data.truncate(self._offset(self.rows))
            self._data.seek(self._offset(self.rows))

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return sum(block["rows"] for block in self._blocks)

    @property
    def fates(self) -> str:
        """One letter for each picture so far: what became of it."""
        return "".join(block["fates"] for block in self._blocks)

    def last(self) -> Pixels:
        """The last picture so far."""
        with storage(self._path):
            self._data.seek(self._offset(self.rows - 1))
            stored = self._data.read(self._offset(1) - self._offset(0))
        return np.frombuffer(stored, np.uint8).reshape(self._size, self._size, 3)

    def append(self, pixels: Pixels, fates: str) -> None:
        """One block: its pictures [k, S, S, 3] and the fates of those it was made from. It will not be lost."""
        block = {"rows": len(pixels), "fates": fates, "digest": blake2b(pixels.data, digest_size=16).hexdigest()}
        with storage(self._path):
            self._data.write(pixels.data)
            self._data.flush()
            os.fsync(self._data.fileno())
            with self._journal.open("ab") as journal:
                journal.write(_line(block))
        self._blocks.append(block)

    def finish(self) -> None:
        """The file gets its header and its name."""
        digest = blake2b("".join(block["digest"] for block in self._blocks).encode(), digest_size=16).hexdigest()
        facts = json.dumps({"fates": self.fates, "digest": digest}).encode()
        with storage(self._path):
            self._data.seek(0)
            shape = (self.rows, self._size, self._size, 3)
            np.lib.format.write_array_header_1_0(self._data, {"descr": "|u1", "fortran_order": False, "shape": shape})
            assert self._data.tell() == _HEADER_BYTES
            self.close()
            outputs.write_bytes(self._path.with_suffix(".json"), facts)
            self._growing.replace(self._path)
            self._journal.unlink()

    def close(self) -> None:
        """Stops here; whole blocks are there for the next time."""
        self._data.close()

    def _known_blocks(self) -> list[dict[str, Any]]:
        if not (self._growing.is_file() and self._journal.is_file()):
            return []
        blocks: list[dict[str, Any]] = []
        space = self._growing.stat().st_size
        for line in self._journal.read_bytes().splitlines():
            try:
                block = json.loads(line)
            except ValueError:  # the last line of a process that was killed
                break
            if self._offset(sum(one["rows"] for one in blocks) + block["rows"]) > space:
                break
            blocks.append(block)
        return blocks

    def _offset(self, row: int) -> int:
        return _HEADER_BYTES + row * self._size * self._size * 3


def _line(block: dict[str, Any]) -> bytes:
    return json.dumps(block).encode() + b"\n"


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Says that the decoded pictures could not be kept, and why."""
    try:
        yield
    except OSError as error:
        raise AffcliError(
            f"{path.parent}: decoded pictures cannot be kept here: {error.strerror or error}. What was kept before is "
            "intact; the same command goes on with it."
        ) from error
