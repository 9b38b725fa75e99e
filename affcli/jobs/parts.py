"""Unfinished work, kept beside its output, so that it can be ended at any moment and go on from there.

    V.parquet.parts/settings.json           what the parts were made with; those made with other settings are dropped
    V.parquet.parts/<input>/1.parquet, …    chunks: the rows that an input gave in half a minute, and how to go on
    V.parquet.parts/<input>/end.json        the input is done: what is wrong with it, or why it gives no rows

A file appears under its name only when it is complete. The name <input> holds the input's size and time of change, so a
file that has changed has no part. Nothing is forced onto the disk (fsync costs more than a short clip): a file that a
power failure has damaged is not used.

Several processes may work on different inputs. A lock that the system frees when its process ends, however it ends,
tells them apart from leftovers.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from affcli.errors import AffcliError
from affcli.jobs.chunks import Chunk, ChunkWriter, chunks_in, keep_only

log = logging.getLogger(__name__)

KEEP_EVERY_S = 30.0

_SETTINGS, _END, _LOCK, _SHARE = "settings.json", "end.json", "lock", "share-"


class StorageError(AffcliError):
    """The parts cannot be written: no fault of the input that is being worked on."""


@dataclass(frozen=True)
class Part:
    """What became of one input: its rows, in `chunks`, or nothing where `failure` says why."""

    fingerprint: str | None = None  # of the content
    chunks: tuple[Chunk, ...] = ()
    problem: str | None = None  # why rows may be missing, in one line
    failure: str | None = None

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
    """Takes the rows of one input's videos. They count once they are kept, and the input is done with `finish`.

    `states` holds what was given to `keep`, oldest first; at the beginning, by the work that this goes on with.
    """

    def __init__(self, folder: Path, identity: str, fingerprint: str, schema: pa.Schema) -> None:
        self.identity, self._fingerprint = identity, fingerprint
        self._folder, self._schema = folder, schema
        # The last chunk of a finished input tells no way to go on: its rows are made again if the end was not noted.
        self._chunks = [chunk for chunk in chunks_in(folder) if chunk.state is not None]
        keep_only(folder, self._chunks)
        self.states: list[Any] = [chunk.state for chunk in self._chunks]
        self._chunk: ChunkWriter | None = None
        self._kept_s = time.monotonic()

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
        with _storage(self._folder.parent):
            self._open_chunk().write(video, rows)

    def keep(self, state: Any) -> None:
        """What was written so far will not be lost; `state`, for JSON, is what going on from here needs."""
        with _storage(self._folder.parent):
            self._chunks.append(self._open_chunk().finish(state))
        self._chunk = None
        self.states.append(state)
        self._kept_s = time.monotonic()

    def finish(self, problem: str | None) -> None:
        """The input is done."""
        if self._chunk is not None:
            self.keep(None)
        with _storage(self._folder.parent):
            _write_end(
                self._folder, {"fingerprint": self._fingerprint, "problem": problem, "chunks": len(self._chunks)}
            )

    def leave(self) -> None:
        """Stops here; what was kept is there for the next time."""
        if self._chunk is not None:
            self._chunk.abandon()
            self._chunk = None

    def _open_chunk(self) -> ChunkWriter:
        if self._chunk is None:
            self._folder.mkdir(exist_ok=True)
            self._chunk = ChunkWriter(self._folder, len(self._chunks) + 1, self._schema)
        return self._chunk


class Parts:
    """The folder of parts beside one output, opened by one of the processes that make it."""

    def __init__(self, output: str, settings: Mapping[str, Any], schema: pa.Schema, *, share: int = 0) -> None:
        """Opens or makes the folder; parts that were made with other settings are removed, with a note.

        Raises AffcliError where another process is at work on the same share, or with other settings.
        """
        self.folder, self._schema = Path(f"{output}.parts"), schema
        self._files: list[IO[bytes]] = []
        with _storage(self.folder):
            self.folder.mkdir(exist_ok=True)
            self._lock = self._opened(_LOCK)
        with self.alone():
            if not self.gone:
                self._agree_on(json.dumps(settings, sort_keys=True))
                if not _locked(self._opened(f"{_SHARE}{share}"), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    raise AffcliError(f"{output}: another process is making it.")

    @property
    def gone(self) -> bool:
        """Whether another process has removed the folder, since the output is complete."""
        return os.fstat(self._lock.fileno()).st_nlink == 0

    @property
    def begun(self) -> bool:
        """Whether there is any unfinished or finished work."""
        return any(path.is_dir() for path in self.folder.iterdir())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process opens the parts, takes stock of them or gathers them meanwhile."""
        _locked(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            _locked(self._lock, fcntl.LOCK_UN)

    def find(self, video: str, identity: str) -> Part | None:
        """What became of an input, by its video id and identity; None where it is not done."""
        folder = self._path(video, identity)
        try:
            facts = json.loads((folder / _END).read_bytes())
        except (OSError, ValueError):
            return None
        count = facts.pop("chunks")
        chunks = chunks_in(folder)
        return Part(chunks=tuple(chunks), **facts) if len(chunks) == count else None

    def begin(self, video: str, identity: str, fingerprint: str) -> PartWriter:
        """Goes on with an input, or begins with it."""
        return PartWriter(self._path(video, identity), identity, fingerprint, self._schema)

    def fail(self, video: str, identity: str, reason: str) -> None:
        """An input gives no rows."""
        self.forget(video, identity)
        with _storage(self.folder):
            _write_end(self._path(video, identity), {"fingerprint": None, "failure": reason, "chunks": 0})

    def forget(self, video: str, identity: str) -> None:
        shutil.rmtree(self._path(video, identity), ignore_errors=True)

    def remove(self) -> None:
        """All parts go, when the output is complete or nothing worth keeping is left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _agree_on(self, settings: str) -> None:
        stored = self.folder / _SETTINGS
        if stored.is_file() and stored.read_bytes() == settings.encode():
            return
        shares = [self._opened(path.name) for path in self.folder.glob(f"{_SHARE}*")]
        if not all(_locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB) for file in shares):
            raise AffcliError(f"{self.folder}: another process is at work here with other settings.")
        others = [path for path in self.folder.iterdir() if path.name != _LOCK]
        if others:
            log.warning("the unfinished work in %s was made with other settings; starting afresh.", self.folder)
        for path in others:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with _storage(self.folder):
            _write(stored, settings.encode())

    def _opened(self, name: str) -> IO[bytes]:
        self._files.append((self.folder / name).open("ab"))
        return self._files[-1]

    def _path(self, video: str, identity: str) -> Path:
        return self.folder / blake2b(f"{video}\0{identity}".encode(), digest_size=12).hexdigest()


def _locked(file: IO[bytes], how: int) -> bool:
    """False where another process holds the lock; True also on file systems that know no locks."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        log.info("%s: no locks here (%s)", file.name, error.strerror)
    return True


def _write_end(folder: Path, facts: Mapping[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    _write(folder / _END, json.dumps(facts).encode())


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def _storage(parts: Path) -> Iterator[None]:
    """Says that the parts could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{parts}: unfinished work cannot be kept here: {error.strerror or error}. What was kept before is intact; "
            "the same command goes on with it."
        ) from error
