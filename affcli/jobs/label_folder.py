"""A folder of frame tables, one for each video, and the summary, which is written last: what of it is done.

DIR/frames/clip1.parquet, …             frame tables; their metadata says from which input, and made how
DIR/summary.parquet, DIR/summary.csv    a row a video, and a row for each input that failed, with 0 frames
DIR/status.json                         how far the work has come, and what failed (status.py)
DIR/unfinished.parts/                   unfinished work (parts.py); gone when all is done

Version 0.1.0 wrote DIR/clip1.parquet, …. Tables that lie there count as if they lay in their place, and are moved to it
when the folder is gathered: a rename each, so that no frame is ever in two tables or in none.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from affcli.errors import AffcliError, ForeignError, UsageError, counted, listed
from affcli.files.inputs import MediaInput
from affcli.files.outputs import remove_leftovers
from affcli.jobs.ends import End
from affcli.jobs.parts import Parts
from affcli.jobs.plan import Existing, Failure, Plan
from affcli.jobs.status import is_status
from affcli.schema import FRAMES, STARTS, STATUS, SUMMARY, SUMMARY_CSV, SUMMARY_TABLE, with_metadata
from affcli.tables.label_tables import (
    TABLE_SUFFIX,
    TABLES_FOLDER,
    UNFINISHED,
    Origin,
    metadata_in,
    older_name,
    table_name,
    tables_beside,
)
from affcli.tables.reader import TableReader
from affcli.tables.writer import FORMAT_OF_SUFFIX, TableWriter
from affcli.views.labelled_video import LabelledTable
from affcli.views.summary import summary_row, summary_schema

log = logging.getLogger(__name__)


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
        self.name, self._path, self._place = folder, Path(folder), Path(folder) / TABLES_FOLDER
        self.settings = settings
        self._stored_settings = json.loads(json.dumps(settings))
        self._tables: dict[Path, _Table] = {}  # all that lie in their place, and where 0.1.0 put them
        self._made = False

    @property
    def parts(self) -> Path:
        """In the folder."""
        return self._path / UNFINISHED

    @property
    def status(self) -> Path:
        """Stays when all is done."""
        return self._path / STATUS

    def prepare(self) -> None:
        """Makes the folder."""
        self._made = not self._path.is_dir()
        self._path.mkdir(exist_ok=True)

    def leave(self) -> None:
        """Removes the folder if it was made now, and is empty."""
        if self._made:
            with suppress(OSError):
                self._place.rmdir()
            with suppress(OSError):
                self._path.rmdir()

    # --- what is there -----------------------------------------------------------------------------------------------

    def look(self) -> Existing:
        """What the tables and the summary tell; a table whose file has not changed is not opened again."""
        self._tables = {path: self._table(path, state) for path, state in self._files()}
        summary = metadata_in(self._path / SUMMARY_TABLE)
        origins = self._origins()
        made = {video: origin.fingerprint for video, origin in origins.items()}
        same = all(table.same_settings for table in self._tables.values() if table.origin is not None)
        misplaced = any(table.path.parent != self._place for table in map(self._at, _videos_of(origins)) if table)
        if summary.get("kind") != SUMMARY:
            return Existing(made, complete=False, same_settings=same, misplaced=misplaced)
        reasons = self._reasons()
        failed = {video: Failure(seen, reasons.get(video)) for video, seen in summary["failed"].items()}
        same &= self._is_same(summary)
        problems = self._problems()
        return Existing(made, summary["inputs"], failed, problems, same_settings=same, misplaced=misplaced)

    def _files(self) -> Iterator[tuple[Path, tuple[int, int, int]]]:
        for entry in [*tables_beside(self._place), *tables_beside(self._path)]:
            with suppress(FileNotFoundError):
                yield Path(entry.path), _state(entry.stat())

    def _table(self, path: Path, state: tuple[int, int, int]) -> _Table:
        known = self._tables.get(path)
        if known is not None and known.state == state:
            return known
        metadata = metadata_in(path)
        return _Table(path, state, Origin.of(metadata, path.name), self._is_same(metadata))

    def _is_same(self, metadata: Mapping[str, Any]) -> bool:
        return all(metadata.get(key) == value for key, value in self._stored_settings.items())

    def _places(self, video: str) -> tuple[Path, Path]:
        return self._place / table_name(video), self._path / older_name(video)

    def _at(self, video: str) -> _Table | None:
        """A video's table, in its place or where 0.1.0 put it."""
        place, older = map(self._tables.get, self._places(video))
        return place or (older if older is not None and older.origin is not None else None)

    def _origins(self) -> dict[str, Origin]:
        """By video id, the inputs whose tables are all there."""
        origins = {table.origin for table in self._tables.values() if table.origin is not None}
        return {origin.video: origin for origin in origins if self._is_whole(origin)}

    def _is_whole(self, origin: Origin) -> bool:
        tables = map(self._at, origin.videos)
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
        names = set(os.listdir(self._path)) if self._path.is_dir() else set()  # noqa: PTH208 - for speed
        if old := sorted(names & {"visual.parts", "audio.parts"}):
            raise ForeignError(
                f"{self._path / old[0]}: holds unfinished work of affcli 0.1.0. Finish it with that version, or remove "
                "the folder."
            )
        self.look()
        wanted = {self._place / table_name(item.video) for item in inputs}
        strange = [path for path, table in self._tables.items() if table.origin is None and _of_input(path) & wanted]
        ours = self.parts.name in names or any(table.origin is not None for table in self._tables.values())
        if not ours:  # else what stands there may be the half of an unfinished summary
            kind = metadata_in(self._path / SUMMARY_TABLE).get("kind") if SUMMARY_TABLE in names else None
            strange += [self._path / n for n in (SUMMARY_TABLE, SUMMARY_CSV) if n in names and kind != SUMMARY]
            strange += [self.status] if STATUS in names and not is_status(self.status) else []
            strange += [self._place] if _holds_anything(self._place) else []
        if strange:
            raise ForeignError(
                f"{min(strange)}: exists already, and affcli label has not made it. Replace it with --force."
            )

    # --- what is made ------------------------------------------------------------------------------------------------

    def write(self, origin: Origin, video: str, rows: pa.Table, *, starts_s: float = 0.0) -> None:
        """One of the input's tables, when it is complete; `starts_s` is when players show what has `time_s` 0."""
        path = self._place / table_name(video)
        path.parent.mkdir(exist_ok=True)
        starts = {STARTS: {origin.video: starts_s}} if starts_s else {}
        schema = with_metadata(rows.schema, kind=FRAMES, **self.settings, **starts, input=asdict(origin))
        with TableWriter(str(path), schema, force=True) as writer:
            writer.write(rows)

    def holds(self, item: MediaInput, end: End, parts: Parts) -> bool:
        """Whether the input's tables are there, with nothing left of what they were before."""
        people = (item.video, f"{item.video}#1")  # whoever it may be of
        for origin in {table.origin for table in map(self._fresh, people) if table is not None}:
            if origin is not None and (origin.video, origin.fingerprint) == (item.video, end.fingerprint):
                for video in origin.videos:
                    self._fresh(video)
                return self._is_whole(origin)
        return False

    def _fresh(self, video: str) -> _Table | None:
        """A table, looked at now."""
        for path in self._places(video):
            try:
                self._tables[path] = self._table(path, _state(path.stat()))
            except FileNotFoundError:
                self._tables.pop(path, None)
        return self._at(video)

    def gather(
        self, plan: Plan, done: Mapping[MediaInput, End], failed: Mapping[str, Failure], parts: Parts
    ) -> tuple[int, int]:
        """Writes the summary of the tables, a row a video and a row for each input that failed; other tables go."""
        remove_leftovers(self._place)
        return self.sum_up(plan, {*plan.kept, *(item.video for item in done)}, failed)

    def tables(self) -> dict[str, list[tuple[Path, str]]]:
        """By input, the tables that `look` found whole: where each lies, and its name in the folder of tables."""
        return {
            video: [(found.path, table_name(one)) for one in origin.videos if (found := self._at(one)) is not None]
            for video, origin in self._origins().items()
        }

    def sum_up(self, plan: Plan, result: Set[str], failed: Mapping[str, Failure]) -> tuple[int, int]:
        """Writes the summary of the inputs in `result`; the numbers of their videos and frames."""
        self.look()
        origins = {video: origin for video, origin in self._origins().items() if video in result}
        rows = [row for video in sorted(origins) for row in self._rows_of(origins[video])]
        videos, frames = len(rows), sum(row["frames"] for row in rows)
        rows += [{"video": video, "frames": 0, "problem": failure.reason} for video, failure in failed.items()]
        self._move_older(origins)
        self._remove_others(origins, known={*result, *failed}, told=not plan.forced)
        schema = summary_schema(self.settings["classes"])
        facts = {
            "inputs": {video: origins[video].fingerprint for video in sorted(origins)},
            "failed": {video: failure.fingerprint for video, failure in failed.items()},
            "incomplete": {video: origins[video].problem for video in sorted(origins) if origins[video].problem},
            **plan.shard,
        }
        described = with_metadata(schema, kind=SUMMARY, **self.settings, **facts)
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["video"])), schema=schema)
        for name in (SUMMARY_CSV, SUMMARY_TABLE):  # the table, which says that all is done, is the last
            with TableWriter(str(self._path / name), described, force=True) as writer:
                writer.write(table)
        return videos, frames

    def _move_older(self, origins: Mapping[str, Origin]) -> None:
        """Moves tables from where 0.1.0 put them to their place."""
        moved = 0
        for video in _videos_of(origins):
            table, place = self._at(video), self._place / table_name(video)
            if table is not None and table.path.parent != self._place:
                self._place.mkdir(exist_ok=True)
                self._tables[place] = self._tables.pop(table.path)
                table.path.replace(place)
                moved += 1
        if moved:
            log.warning(
                "%s: moved %s to %s, where other programs find only tables.",
                self.name,
                counted(moved, "table"),
                self._place,
            )

    def _remove_others(self, origins: Mapping[str, Origin], *, known: set[str], told: bool) -> None:
        """Removes tables of ours that are no part of the result: of inputs that failed, or are not named any more."""
        kept = {self._place / table_name(video) for video in _videos_of(origins)}
        strangers = set()
        for path, table in self._tables.items():
            if table.origin is not None and path not in kept:
                path.unlink(missing_ok=True)
                strangers |= {table.origin.video} - known
        if strangers and told:
            what = listed(sorted(strangers))
            log.warning("%s: removed the tables of inputs that are not named now: %s.", self.name, what)

    def _rows_of(self, origin: Origin) -> Iterator[dict[str, Any]]:
        for video in origin.videos:
            found = self._at(video)
            assert found is not None  # the origin's tables are all there
            with LabelledTable(str(found.path)) as table:
                yield summary_row(table.video(video), problem=origin.problem)


def _videos_of(origins: Mapping[str, Origin]) -> list[str]:
    return [video for origin in origins.values() for video in origin.videos]


def _holds_anything(folder: Path) -> bool:
    """Whether a folder holds anything but hidden files, or is none."""
    if not folder.is_dir():
        return folder.exists()
    return any(entry.name[0] != "." for entry in os.scandir(folder))


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def refuse_no_folder(folder: str) -> None:
    """Raises where a folder of results cannot be made, before anything is loaded."""
    path = Path(folder)
    if not folder or (path.exists() and not path.is_dir()):
        raise AffcliError(f"{folder or 'the empty name'}: is no folder; name one with -o.")
    if path.suffix.lower() in FORMAT_OF_SUFFIX and not folder.endswith("/") and not path.is_dir():
        raise UsageError(
            f"{folder}: is the name of a table, and a folder of tables is written. Name a folder, such as "
            f"{path.with_suffix('')}/; a folder of that very name is written {folder}/."
        )
    if not path.parent.is_dir():
        raise AffcliError(f"{path}: the folder {path.parent} does not exist.")
    place = path / TABLES_FOLDER
    if place.exists() and not place.is_dir():
        raise AffcliError(f"{place}: is a file, and the tables are to lie in a folder of that name.")


def _of_input(path: Path) -> set[Path]:
    """The table itself, and that of the input which it would be a person of (`--face all`)."""
    return {path, path.with_name(re.sub(rf"#\d+{re.escape(TABLE_SUFFIX)}$", TABLE_SUFFIX, path.name))}
