"""One stream of one input: rows that are kept chunk by chunk until it is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from affcli.errors import StorageError
from affcli.jobs.chunks import Chunk, ChunkWriter, HeldRows, chunk_path, chunks_in, last_digest
from affcli.jobs.sealed import write_sealed

log = logging.getLogger(__name__)

KEEP_EVERY_S = 30.0
_HELD_BYTES: Final = 1 << 18
_SOON_S: Final = 5.0  # of work that may be done again
END: Final = "end.json"


@dataclass(frozen=True)
class Part:
    """One stream of an input, done: its rows, in `chunks`."""

    chunks: tuple[Chunk | HeldRows, ...] = ()
    problem: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # more that is known of it

    @property
    def videos(self) -> list[str]:
        """The video ids that the input gave, in their order."""
        return list(dict.fromkeys(video for chunk in self.chunks for video in chunk.videos))

    def tables(self, video: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of one of them, piece by piece; all columns or some."""
        for chunk in self.chunks:
            yield from chunk.tables(video, columns)

    def rows(self, video: str) -> int:
        """How many rows one of them has."""
        return sum(chunk.rows(video) for chunk in self.chunks)


class PartWriter:
    """Takes the rows of one stream of an input. They count once they are kept, and the stream is done with `finish`.

    `states` holds what was given to `keep`, oldest first; at the beginning, by the work that this continues.

    With `done`, which takes a finished part, few rows are held until then and never written: for work whose rows only
    this process needs, and that took a few seconds at most. `begin` makes the folder before anything is written to it.
    """

    def __init__(
        self,
        folder: Path,
        stream: str,
        schema: pa.Schema,
        *,
        begin: Callable[[], None] = lambda: None,
        done: Callable[[Part], None] | None = None,
    ) -> None:
        self._folder, self._stream, self._schema = folder, stream, schema
        self._begin, self._done = begin, done
        self._held: list[tuple[str, pa.Table]] = []
        found, damaged = chunks_in(folder, stream)
        if damaged:
            log.warning("%s: unfinished work is damaged; that part of it is done again.", folder.parent)
        # The last chunk of a finished input tells no way to go on: its rows are made again if the end was not noted.
        self._chunks = [chunk for chunk in found if chunk.state is not None]
        self._drop_chunks_after(len(self._chunks))
        self.states: list[Any] = [chunk.state for chunk in self._chunks]
        self._chunk: ChunkWriter | None = None
        self._kept_s = time.monotonic()

    def _drop_chunks_after(self, number: int) -> None:
        """What comes after a damaged chunk is never taken for what comes after the new one; half-written files."""
        kept = {chunk_path(self._folder, self._stream, n).name for n in range(1, number + 1)}
        for path in self._folder.glob(f"{self._stream}.*.parquet"):
            if path.name not in kept:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink()
        for left in self._folder.glob(f".{self._stream}.*.tmp"):
            left.unlink()

    @property
    def due(self) -> bool:
        """Whether it is time to keep what was written."""
        return time.monotonic() - self._kept_s >= KEEP_EVERY_S

    def last_rows(self) -> dict[str, pa.Table]:
        """The last row that was kept of each video."""
        if not self._chunks:
            return {}
        last = self._chunks[-1]
        tables = {video: list(last.tables(video))[-1] for video in last.videos}
        return {video: rows.slice(rows.num_rows - 1) for video, rows in tables.items()}

    def write(self, video: str, rows: pa.Table) -> None:
        """Appends rows, in order of frame, to one video."""
        if self._may_hold(rows):
            self._held += [(video, rows)] if rows.num_rows else []
            return
        with storage(self._folder.parent):
            self._open_chunk().write(video, rows)

    def _may_hold(self, rows: pa.Table) -> bool:
        if self._done is None or self._chunks or self._chunk is not None:
            return False
        return bool(sum(held.nbytes for _, held in self._held) + rows.nbytes <= _HELD_BYTES)

    def keep(self, state: Any) -> None:
        """What was written so far will not be lost; `state`, for JSON, is what continuing from here needs."""
        with storage(self._folder.parent):
            self._chunks.append(self._open_chunk().finish(state, after=last_digest(self._chunks)))
        self._chunk = None
        self.states.append(state)
        self._kept_s = time.monotonic()

    def finish(self, problem: str | None, **facts: Any) -> None:
        """The stream is done, but for what `problem` says; `facts`, for JSON, are kept with it."""
        if self._done is not None and self._held and time.monotonic() - self._kept_s < _SOON_S:
            self._done(Part((HeldRows(tuple(self._held)),), problem, facts))
            self._held = []
            return
        if self._chunk is not None or self._held:
            self.keep(None)
        end = {"problem": problem, "chunks": len(self._chunks), "last": last_digest(self._chunks), "facts": facts}
        with storage(self._folder.parent):
            self._begin()
            write_sealed(self._folder / f"{self._stream}.{END}", end)

    def leave(self) -> None:
        """Stops here; what was kept is there for the next time."""
        self._held = []
        if self._chunk is not None:
            self._chunk.abandon()
            self._chunk = None

    def _open_chunk(self) -> ChunkWriter:
        if self._chunk is None:
            self._begin()
            self._chunk = ChunkWriter(self._folder, self._stream, len(self._chunks) + 1, self._schema)
            for video, rows in self._held:
                self._chunk.write(video, rows)
            self._held = []
        return self._chunk


def finished_part(folder: Path, stream: str, end: Mapping[str, Any] | None) -> Part | None:
    """A stream that is done, as its end says, and whole."""
    if end is None:
        return None
    chunks, _ = chunks_in(folder, stream)
    if (len(chunks), last_digest(chunks)) != (end["chunks"], end["last"]):
        return None
    return Part(tuple(chunks), end["problem"], end["facts"])


@contextmanager
def storage(parts: Path) -> Iterator[None]:
    """Says that the parts could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{parts}: unfinished work cannot be kept here: {error.strerror or error}. What was kept before is intact; "
            "the same command goes on with it."
        ) from error
