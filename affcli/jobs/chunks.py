"""Chunks of unfinished work: small Parquet files, each complete under its name and with what going on after it needs.

A chunk holds rows of one or more videos, a row group for each call of `write`; nothing is buffered and no thread runs,
however many videos there are. They are no tables of ours (those are in tables/): nothing else reads them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_ABOUT = b"affcli.chunk"


@dataclass(frozen=True)
class Chunk:
    """A complete chunk: `groups[i]` is the video whose rows row group i holds."""

    path: Path
    groups: tuple[str, ...]
    state: Any

    @property
    def videos(self) -> list[str]:
        return list(dict.fromkeys(self.groups))

    def tables(self, video: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """One video's rows, as they were written; all columns or some."""
        wanted = None if columns is None else list(columns)
        # Little at a time, which threads and buffers would only make larger.
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            for index, owner in enumerate(self.groups):
                if owner == video:
                    yield file.read_row_group(index, wanted, use_threads=False)

    def rows(self, video: str) -> int:
        """How many rows of one video it holds."""
        about = pq.read_metadata(self.path)
        return sum(about.row_group(index).num_rows for index, owner in enumerate(self.groups) if owner == video)


class ChunkWriter:
    """Writes one chunk under a temporary name; `finish` gives it its own."""

    def __init__(self, folder: Path, number: int, schema: pa.Schema) -> None:
        self._path = _path(folder, number)
        self._temporary = folder / f".{number}.{os.getpid()}"
        self._stream = self._temporary.open("wb")
        text = [field.name for field in schema if pa.types.is_string(field.type)]
        self._writer = pq.ParquetWriter(self._stream, schema, use_dictionary=text, compression="snappy")
        self._groups: list[str] = []

    def write(self, video: str, rows: pa.Table) -> None:
        """Appends a few thousand rows at most."""
        if rows.num_rows:
            self._writer.write_table(rows, row_group_size=rows.num_rows)
            self._groups.append(video)

    def finish(self, state: Any) -> Chunk:
        about = {"groups": self._groups, "state": state}
        self._writer.add_key_value_metadata({_ABOUT.decode(): json.dumps(about)})
        self._writer.close()
        self._stream.close()
        self._temporary.replace(self._path)
        return Chunk(self._path, tuple(self._groups), state)

    def abandon(self) -> None:
        """Leaves no trace."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError):
            self._stream.close()
        self._temporary.unlink(missing_ok=True)


def chunks_in(folder: Path) -> list[Chunk]:
    """The chunks 1, 2, … in a folder, up to the first that is missing or damaged."""
    chunks: list[Chunk] = []
    while (chunk := _read(_path(folder, len(chunks) + 1))) is not None:
        chunks.append(chunk)
    return chunks


def keep_only(folder: Path, chunks: Sequence[Chunk]) -> None:
    """Removes everything else from the folder: what comes after a damaged chunk, and half-written files."""
    kept = {chunk.path for chunk in chunks}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path not in kept:
            path.unlink()


def _read(path: Path) -> Chunk | None:
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return None
    about = json.loads((metadata.metadata or {}).get(_ABOUT, b"null"))
    if about is None or len(about["groups"]) != metadata.num_row_groups:
        return None
    return Chunk(path, tuple(about["groups"]), about["state"])


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.parquet"
