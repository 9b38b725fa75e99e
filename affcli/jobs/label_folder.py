"""A folder of frame tables, one for each video, and the summary, which is written last: what of it is done.

DIR/clip1.parquet, DIR/clip2.parquet, …    frame tables; their metadata says from which input, and made how
DIR/summary.parquet, DIR/summary.csv       a row a video, and a row for each input that failed, with 0 frames
DIR/unfinished.parts/                      unfinished work (parts.py); gone when all is done
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from affcli.errors import AffcliError, ForeignError, listed
from affcli.files.inputs import MediaInput
from affcli.jobs.ends import End
from affcli.jobs.parts import Parts
from affcli.jobs.plan import Existing, Failure, Plan
from affcli.schema import FRAMES, STARTS, SUMMARY, SUMMARY_CSV, SUMMARY_TABLE, with_metadata
from affcli.tables.reader import TableReader, metadata_in
from affcli.tables.writer import TableWriter
from affcli.views.labelled_video import LabelledTable
from affcli.views.summary import summary_row, summary_schema

log = logging.getLogger(__name__)

_SUFFIX: Final = ".parquet"
_LONGEST_NAME: Final = 180  # bytes; file systems take 255, and a temporary name is longer


def table_name(video: str) -> str:
    """The file that holds a video's frames. All lie side by side: `/` in an id (--names path) becomes `%2F`.

    `%` itself is `%25`; a dot in front, which would hide the table, `%2E`; `summary` is `%73ummary`. An id that is too
    long for a file name is cut, and ends in 12 digits of its hash.
    """
    name = video.replace("%", "%25").replace("/", "%2F")
    if name.startswith(".") or f"{name}{_SUFFIX}".lower() == SUMMARY_TABLE:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    encoded = name.encode()
    if len(encoded) > _LONGEST_NAME:
        kept = encoded[: _LONGEST_NAME - 13].decode(errors="ignore")
        name = f"{kept}~{blake2b(video.encode(), digest_size=6).hexdigest()}"
    return name + _SUFFIX


@dataclass(frozen=True)
class Origin:
    """The input that a table is from: its video id, its content, all the videos it gave, and what is wrong with it."""

    video: str
    fingerprint: str
    videos: tuple[str, ...]
    problem: str | None = None  # why frames may be missing

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Origin | None:
        """What a table's metadata says; None for tables that are not of `affcli label`."""
        facts = metadata.get("input")
        if metadata.get("kind") != FRAMES or not isinstance(facts, dict):
            return None
        return cls(facts["video"], facts["fingerprint"], tuple(facts["videos"]), facts["problem"])


@dataclass(frozen=True)
class _Table:
    path: Path
    state: tuple[int, int, int]  # of the file when its metadata were read
    origin: Origin | None  # None where it is not ours
    same_settings: bool


class LabelFolder:
    """The folder, an Output; `settings` decide what of it can be kept."""

    gathers_rows = False

    def __init__(self, folder: str, settings: Mapping[str, Any]) -> None:
        """Raises AffcliError where no folder can be made under that name."""
        refuse_no_folder(folder)
        self.name, self._path = folder, Path(folder)
        self.settings = settings
        self._stored_settings = json.loads(json.dumps(settings))
        self._tables: dict[str, _Table] = {}  # all that lie in it, by file name
        self._made = False

    @property
    def parts(self) -> Path:
        """In the folder."""
        return self._path / "unfinished.parts"

    def prepare(self) -> None:
        """Makes the folder."""
        self._made = not self._path.is_dir()
        self._path.mkdir(exist_ok=True)

    def leave(self) -> None:
        """Removes the folder if it was made now, and is empty."""
        if self._made:
            with suppress(OSError):
                self._path.rmdir()

    # --- what is there -----------------------------------------------------------------------------------------------

    def look(self) -> Existing:
        """What the tables and the summary tell; a table whose file has not changed is not opened again."""
        self._tables = {name: self._table(name, state) for name, state in self._files()}
        summary = metadata_in(self._path / SUMMARY_TABLE) if SUMMARY_TABLE in self._names() else {}
        made = {video: origin.fingerprint for video, origin in self._origins().items()}
        same = all(table.same_settings for table in self._tables.values() if table.origin is not None)
        if summary.get("kind") != SUMMARY:
            return Existing(made, complete=False, same_settings=same)
        reasons = self._reasons()
        failed = {video: Failure(seen, reasons.get(video)) for video, seen in summary["failed"].items()}
        same &= self._is_same(summary)
        return Existing(made, summary["inputs"], failed, self._problems(), same_settings=same)

    def _names(self) -> set[str]:
        return set(os.listdir(self._path)) if self._path.is_dir() else set()  # noqa: PTH208 - for speed

    def _files(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        if not self._path.is_dir():
            return
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX) and not entry.name.startswith(".") and entry.name != SUMMARY_TABLE:
                    with suppress(FileNotFoundError):
                        yield entry.name, _state(entry.stat())

    def _table(self, name: str, state: tuple[int, int, int]) -> _Table:
        known = self._tables.get(name)
        if known is not None and known.state == state:
            return known
        metadata = metadata_in(self._path / name)
        origin = Origin.of(metadata)
        # A copy, or what another command has made of a table, does not stand under the name of one of its videos.
        if origin is not None and name not in map(table_name, origin.videos):
            origin = None
        return _Table(self._path / name, state, origin, self._is_same(metadata))

    def _is_same(self, metadata: Mapping[str, Any]) -> bool:
        return all(metadata.get(key) == value for key, value in self._stored_settings.items())

    def _origins(self) -> dict[str, Origin]:
        """By video id, the inputs whose tables are all there."""
        origins = {table.origin for table in self._tables.values() if table.origin is not None}
        return {origin.video: origin for origin in origins if self._is_whole(origin)}

    def _is_whole(self, origin: Origin) -> bool:
        tables = [self._tables.get(table_name(video)) for video in origin.videos]
        return all(table is not None and table.origin == origin and table.same_settings for table in tables)

    def _problems(self) -> dict[str, str]:
        return {video: origin.problem for video, origin in sorted(self._origins().items()) if origin.problem}

    def _reasons(self) -> dict[str, str]:
        """Why inputs failed, as the summary says."""
        with TableReader(str(self._path / SUMMARY_TABLE)) as table:
            rows = table.read(["video", "frames", "problem"]).to_pylist()
        return {row["video"]: row["problem"] for row in rows if not row["frames"]}

    def refuse_strangers(self, inputs: Sequence[MediaInput]) -> None:
        """Raises ForeignError for a file that stands where one of ours is to be written, and is none of ours."""
        names = self._names()
        if old := sorted(names & {"visual.parts", "audio.parts"}):
            raise ForeignError(
                f"{self._path / old[0]}: holds unfinished work of affcli 0.1.0. Finish it with that version, or remove "
                "the folder."
            )
        self.look()
        wanted = {table_name(item.video) for item in inputs}
        strange = [name for name, table in self._tables.items() if table.origin is None and _of_input(name) & wanted]
        ours = self.parts.name in names or any(table.origin is not None for table in self._tables.values())
        if not ours:  # else what stands there may be the half of an unfinished summary
            kind = metadata_in(self._path / SUMMARY_TABLE).get("kind") if SUMMARY_TABLE in names else None
            strange += [name for name in (SUMMARY_TABLE, SUMMARY_CSV) if name in names and kind != SUMMARY]
        if strange:
            raise ForeignError(
                f"{self._path / min(strange)}: exists already, and affcli label has not made it. Replace it with "
                "--force."
            )

    # --- what is made ------------------------------------------------------------------------------------------------

    def write(self, origin: Origin, video: str, rows: pa.Table, *, starts_s: float = 0.0) -> None:
        """One of the input's tables, when it is complete; `starts_s` is when players show what has `time_s` 0."""
        path = self._path / table_name(video)
        starts = {STARTS: {origin.video: starts_s}} if starts_s else {}
        schema = with_metadata(rows.schema, kind=FRAMES, **self.settings, **starts, input=asdict(origin))
        with TableWriter(str(path), schema, force=True) as writer:
            writer.write(rows)

    def holds(self, item: MediaInput, end: End, parts: Parts) -> bool:
        """Whether the input's tables are there, with nothing left of what they were before."""
        names = [table_name(video) for video in (item.video, f"{item.video}#1")]  # whoever it may be of
        for origin in {table.origin for table in map(self._fresh, names) if table is not None}:
            if origin is not None and (origin.video, origin.fingerprint) == (item.video, end.fingerprint):
                for video in origin.videos:
                    self._fresh(table_name(video))
                return self._is_whole(origin)
        return False

    def _fresh(self, name: str) -> _Table | None:
        """A table, looked at now."""
        try:
            self._tables[name] = self._table(name, _state((self._path / name).stat()))
        except FileNotFoundError:
            self._tables.pop(name, None)
        return self._tables.get(name)

    def gather(
        self, plan: Plan, done: Mapping[MediaInput, End], failed: Mapping[str, Failure], parts: Parts
    ) -> tuple[int, int]:
        """Writes the summary of the tables, a row a video and a row for each input that failed; other tables go."""
        self.look()
        result = {*plan.kept, *(item.video for item in done)}
        origins = {video: origin for video, origin in self._origins().items() if video in result}
        rows = [row for video in sorted(origins) for row in self._rows_of(origins[video])]
        videos, frames = len(rows), sum(row["frames"] for row in rows)
        rows += [{"video": video, "frames": 0, "problem": failure.reason} for video, failure in failed.items()]
        self._remove_others(origins, known={*result, *failed}, told=not plan.forced)
        schema = summary_schema(self.settings["classes"])
        facts = {
            "inputs": {video: origins[video].fingerprint for video in sorted(origins)},
            "failed": {video: failure.fingerprint for video, failure in failed.items()},
            "incomplete": {video: origins[video].problem for video in sorted(origins) if origins[video].problem},
        }
        described = with_metadata(schema, kind=SUMMARY, **self.settings, **facts)
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["video"])), schema=schema)
        for name in (SUMMARY_CSV, SUMMARY_TABLE):  # the table, which says that all is done, is the last
            with TableWriter(str(self._path / name), described, force=True) as writer:
                writer.write(table)
        return videos, frames

    def _remove_others(self, origins: Mapping[str, Origin], *, known: set[str], told: bool) -> None:
        """Removes tables of ours that are no part of the result: of inputs that failed, or are not named any more."""
        kept = {table_name(video) for origin in origins.values() for video in origin.videos}
        strangers = set()
        for name, table in self._tables.items():
            if table.origin is not None and name not in kept:
                table.path.unlink(missing_ok=True)
                strangers |= {table.origin.video} - known
        if strangers and told:
            what = listed(sorted(strangers))
            log.warning("%s: removed the tables of inputs that are not named now: %s.", self.name, what)

    def _rows_of(self, origin: Origin) -> Iterator[dict[str, Any]]:
        for video in origin.videos:
            with LabelledTable(str(self._path / table_name(video))) as table:
                yield summary_row(table.video(video), problem=origin.problem)


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def refuse_no_folder(folder: str) -> None:
    """Raises where a folder of results cannot be made, before anything is loaded."""
    path = Path(folder)
    if not folder or (path.exists() and not path.is_dir()):
        raise AffcliError(f"{folder or 'the empty name'}: is no folder; name one with -o.")
    if not path.parent.is_dir():
        raise AffcliError(f"{path}: the folder {path.parent} does not exist.")


def _of_input(name: str) -> set[str]:
    """The table itself, and that of the input which it would be a person of (`--face all`)."""
    return {name, re.sub(rf"#\d+{re.escape(_SUFFIX)}$", _SUFFIX, name)}
