"""Finished parts of unfinished work: what an interrupted extraction has done is kept beside its output, by input.

    V.parquet.parts/settings.json          what the parts were made with; parts made with other settings are dropped
    V.parquet.parts/<input>/1.parquet …    one table for each video id that the input gave
    V.parquet.parts/<input>/done.json      their video ids, and what was wrong with the input

A part appears under its name only when it is complete. Its name holds the input's content fingerprint, so a file that
has changed has no part.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from affcli.errors import AffcliError
from affcli.outputs import write_bytes
from affcli.writing import TableWriter

log = logging.getLogger(__name__)

_SETTINGS, _DONE = "settings.json", "done.json"


@dataclass(frozen=True)
class Part:
    """The finished tables of one input: `tables[i]` holds the rows of `videos[i]`."""

    videos: tuple[str, ...]
    tables: tuple[Path, ...]
    problem: str | None  # why it may be incomplete, in one line


class PartWriter:
    """Takes the rows of one input's videos; nothing counts until `finish`."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._final, self._schema = folder, schema
        self._folder = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._writers: dict[str, TableWriter] = {}

    def write(self, video: str, rows: pa.Table) -> None:
        """Appends rows, in order of frame, to one video."""
        if video not in self._writers:
            path = self._folder / f"{len(self._writers) + 1}.parquet"
            self._writers[video] = TableWriter(str(path), self._schema).__enter__()
        self._writers[video].write(rows)

    def finish(self, problem: str | None) -> None:
        """The part is complete and appears under its name."""
        for writer in self._writers.values():
            writer.__exit__(None, None, None)
        facts = {"videos": list(self._writers), "problem": problem}
        write_bytes(self._folder / _DONE, json.dumps(facts, ensure_ascii=False).encode())
        self._folder.replace(self._final)

    def abandon(self) -> None:
        """Forgets everything."""
        for writer in self._writers.values():
            writer.__exit__(AffcliError, None, None)
        shutil.rmtree(self._folder, ignore_errors=True)


class Parts:
    """The folder of parts beside one output."""

    def __init__(self, output: str, settings: Mapping[str, Any], schema: pa.Schema) -> None:
        """Opens or makes the folder; parts that were made with other settings are removed, with a note."""
        self._folder, self._schema = Path(f"{output}.parts"), schema
        text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
        stored = self._folder / _SETTINGS
        if self._folder.is_dir() and not (stored.is_file() and stored.read_text() == text):
            log.warning("the unfinished work in %s was made with other settings; starting afresh.", self._folder)
            shutil.rmtree(self._folder)
        self._folder.mkdir(exist_ok=True)
        write_bytes(stored, text.encode())

    @property
    def empty(self) -> bool:
        return not any(self._folder.glob(f"*/{_DONE}"))

    def find(self, name: str, digest: str) -> Part | None:
        """The finished part of an input, by its video id and content fingerprint."""
        folder = self._path(name, digest)
        if not (folder / _DONE).is_file():
            return None
        facts = json.loads((folder / _DONE).read_text())
        tables = tuple(folder / f"{number}.parquet" for number in range(1, len(facts["videos"]) + 1))
        return Part(tuple(facts["videos"]), tables, facts["problem"])

    def begin(self, name: str, digest: str) -> PartWriter:
        return PartWriter(self._path(name, digest), self._schema)

    def remove(self) -> None:
        """All parts go, when the output is complete or nothing worth keeping is left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str, digest: str) -> Path:
        return self._folder / blake2b(f"{name}\0{digest}".encode(), digest_size=12).hexdigest()
