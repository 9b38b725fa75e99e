"""Chunks of unfinished work: rows in a small Parquet file, and beside it what continuing from there needs.

    visual.1.parquet    rows of one or more videos, a row group for each call of `write`
    visual.1.json       its digest, that of the chunk before it, the video of each row group, the state

The second file makes the chunk count: it appears last. Nothing is buffered and no thread runs, however many videos
there are. The Parquet files are no tables of ours (those are in tables/): nothing else reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from affcli.jobs.sealed import DIGEST_BYTES, DamagedError, create_part, read_sealed, write_sealed
from affcli.tables.sink import Sink

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Chunk:
    """A complete chunk: `groups[i]` is the video whose rows row group i holds."""

    path: Path
    groups: tuple[str, ...]
    digest: str
    state: Any

    @property
    def videos(self) -> list[str]:
        """The videos in it, in the order of their first rows."""
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


@dataclass(frozen=True)
class HeldRows:
    """Rows that were never written, for as long as this process needs them: by video, in their order."""

    pieces: tuple[tuple[str, pa.Table], ...]

    @property
    def videos(self) -> list[str]:
        """The videos in it, in the order of their first rows."""
        return list(dict.fromkeys(video for video, _ in self.pieces))

    def tables(self, video: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """One video's rows; all columns or some."""
        for owner, rows in self.pieces:
            if owner == video:
                yield rows if columns is None else rows.select(list(columns))

    def rows(self, video: str) -> int:
        """How many rows of one video it holds."""
        return sum(rows.num_rows for owner, rows in self.pieces if owner == video)


class ChunkWriter:
    """Writes chunk `number` of a stream under a temporary name; `finish` makes it count."""

    def __init__(self, folder: Path, stream: str, number: int, schema: pa.Schema) -> None:
        self._path = chunk_path(folder, stream, number)
        self._temporary, self._file = create_part(self._path)
        self._sink = _HashingSink(self._file)
        text = [field.name for field in schema if pa.types.is_string(field.type)]
        self._writer = pq.ParquetWriter(self._sink, schema, use_dictionary=text, compression="snappy")
        self._groups: list[str] = []

    def write(self, video: str, rows: pa.Table) -> None:
        """Appends a few thousand rows at most."""
        if rows.num_rows:
            self._writer.write_table(rows, row_group_size=rows.num_rows)
            self._groups.append(video)

    def finish(self, state: Any, *, after: str) -> Chunk:
        """`state`, for JSON, is what continuing needs; `after` the digest of the chunk before, or nothing."""
        self._writer.close()
        self._file.close()
        self._temporary.replace(self._path)
        digest = self._sink.digest
        facts = {"digest": digest, "after": after, "groups": self._groups, "state": state}
        write_sealed(self._path.with_suffix(".json"), facts)
        return Chunk(self._path, tuple(self._groups), digest, state)

    def abandon(self) -> None:
        """Leaves no trace."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)


class _HashingSink(Sink):
    """A sink whose bytes are digested on their way."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self._hash = blake2b(digest_size=DIGEST_BYTES)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return super().write(data)


def chunks_in(folder: Path, stream: str) -> tuple[list[Chunk], bool]:
    """Chunks 1, 2, … of a stream up to the first that is missing or damaged, and whether it is damaged."""
    chunks: list[Chunk] = []
    try:
        while (chunk := _read(folder, stream, len(chunks) + 1, after=last_digest(chunks))) is not None:
            chunks.append(chunk)
    except DamagedError:
        return chunks, True
    return chunks, False


def last_digest(chunks: Sequence[Chunk]) -> str:
    """The digest of the last chunk, which says what the next one continues; empty where there is none."""
    return chunks[-1].digest if chunks else ""


def chunk_path(folder: Path, stream: str, number: int) -> Path:
    """The file of a chunk's rows."""
    return folder / f"{stream}.{number}.parquet"


def _read(folder: Path, stream: str, number: int, *, after: str) -> Chunk | None:
    path = chunk_path(folder, stream, number)
    facts = read_sealed(path.with_suffix(".json"))
    if facts is None:
        return None
    if facts["after"] != after or facts["digest"] != _digest_of(path):
        raise DamagedError(str(path))
    return Chunk(path, tuple(facts["groups"]), facts["digest"], facts["state"])


def _digest_of(path: Path) -> str:
    state = blake2b(digest_size=DIGEST_BYTES)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                state.update(block)
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from error
    return state.hexdigest()
