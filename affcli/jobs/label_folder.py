"""A folder of frame tables, one for each video, and the summary, which is written last: what of it is done.

DIR/clip1.parquet, DIR/clip2.parquet, …    frame tables; their metadata says from which input, and made how
DIR/summary.parquet, DIR/summary.csv       a row a video; the metadata lists the inputs, those that failed too
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from affcli.errors import AffcliError
from affcli.schema import FRAMES, SUMMARY, SUMMARY_CSV, SUMMARY_TABLE, with_metadata
from affcli.tables.reader import metadata_in
from affcli.tables.writer import TableWriter
from affcli.views.labelled_video import LabelledTable
from affcli.views.summary import summary_row, summary_schema

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
class Source:
    """The input that a table is from: its video id, its content, all the videos it gave, and what is wrong with it."""

    video: str
    fingerprint: str
    videos: tuple[str, ...]
    problem: str | None = None  # why frames may be missing

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Source | None:
        """What a table's metadata says; None for tables that are not of `affcli label`."""
        facts = metadata.get("input")
        if metadata.get("kind") != FRAMES or not isinstance(facts, dict):
            return None
        return cls(facts["video"], facts["fingerprint"], tuple(facts["videos"]), facts["problem"])


@dataclass(frozen=True)
class _Table:
    path: Path
    source: Source
    same_settings: bool


class LabelFolder:
    """The folder as it is; `settings` decide what of it can be kept. `look()` after it was changed elsewhere."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self._settings = path, json.loads(json.dumps(settings))
        self.look()

    def look(self) -> None:
        """Takes stock."""
        summary = metadata_in(self.path / SUMMARY_TABLE)
        self._summary = summary if summary.get("kind") == SUMMARY else None
        self._tables = {table.path.name: table for table in self._found()}

    def _found(self) -> Iterator[_Table]:
        for path in sorted(self.path.glob(f"*{_SUFFIX}")):
            metadata = metadata_in(path)
            source = Source.of(metadata)
            # A copy, or what another command has made of a table, does not stand under the name of one of its videos.
            if source is not None and path.name in map(table_name, source.videos):
                yield _Table(path, source, self._same(metadata))

    def _same(self, metadata: Mapping[str, Any]) -> bool:
        return all(metadata.get(key) == value for key, value in self._settings.items())

    @property
    def complete(self) -> bool:
        """Whether the summary is there."""
        return self._summary is not None

    @property
    def other_settings(self) -> bool:
        """Whether any of it was made with other settings."""
        summary_differs = self._summary is not None and not self._same(self._summary)
        return summary_differs or not all(table.same_settings for table in self._tables.values())

    @property
    def inputs(self) -> dict[str, str | None]:
        """Video id → fingerprint of all inputs, those that failed too, of which the summary tells; None: unreadable."""
        return {} if self._summary is None else {**self._summary["failed"], **self._summary["inputs"]}

    @property
    def failed(self) -> dict[str, str | None]:
        """Of those, the ones that failed."""
        return {} if self._summary is None else dict(self._summary["failed"])

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Video ids of inputs of which frames may be missing."""
        return tuple(sorted(video for video, source in self.sources.items() if source.problem))

    @property
    def sources(self) -> dict[str, Source]:
        """Video id → input, of those whose tables are all there."""
        found = {table.source.video: table.source for table in self._tables.values()}
        return {video: source for video, source in found.items() if self._whole(source)}

    def _whole(self, source: Source) -> bool:
        tables = [self._tables.get(table_name(video)) for video in source.videos]
        return all(table is not None and table.source == source for table in tables)

    def foreign(self, videos: Collection[str]) -> Path | None:
        """A file that stands where one of ours is to be written, and is none of ours."""
        names = [name for name in map(table_name, videos) if name not in self._tables]
        if not self.complete and not self._tables:  # else what stands there may be the half of an unfinished summary
            names += [SUMMARY_TABLE, SUMMARY_CSV]
        return next((self.path / name for name in names if (self.path / name).exists()), None)

    def clear(self) -> None:
        """Removes the summary and all tables that were made by `affcli label`."""
        for name in (SUMMARY_TABLE, SUMMARY_CSV, *self._tables):
            (self.path / name).unlink(missing_ok=True)
        self.look()

    def remove_leftovers(self) -> None:
        """Removes what a process that was killed while it wrote a table has left; for the only process at work here."""
        for pattern in (f".*{_SUFFIX}.[0-9]*.tmp", f".{SUMMARY_CSV}.[0-9]*.tmp"):
            for left in self.path.glob(pattern):
                left.unlink(missing_ok=True)

    def forget(self, video: str, *, but: Collection[str] = ()) -> None:
        """Removes the tables of an input, but for those of some of its videos."""
        kept = {table_name(name) for name in but}
        for name, table in list(self._tables.items()):
            if table.source.video == video and name not in kept:
                table.path.unlink(missing_ok=True)
                del self._tables[name]

    def write(self, source: Source, video: str, rows: pa.Table) -> None:
        """One of the input's tables, when it is complete."""
        path = self.path / table_name(video)
        schema = with_metadata(rows.schema, kind=FRAMES, **self._settings, input=asdict(source))
        with TableWriter(str(path), schema, force=True) as writer:
            writer.write(rows)
        self._tables[path.name] = _Table(path, source, same_settings=True)

    def sum_up(self, failed: Mapping[str, str | None]) -> tuple[int, int]:
        """Writes the summary of all tables; `failed` are inputs without one. Returns the numbers of videos and rows."""
        sources = self.sources
        rows = [row for video in sorted(sources) for row in self._rows_of(sources[video])]
        if not rows:
            raise AffcliError("none of the inputs could be used; nothing is written.")
        schema = summary_schema(self._settings["classes"])
        facts = {
            "inputs": {video: sources[video].fingerprint for video in sorted(sources)},
            "failed": dict(sorted(failed.items())),
            "incomplete": {video: sources[video].problem for video in sorted(sources) if sources[video].problem},
        }
        described = with_metadata(schema, kind=SUMMARY, **self._settings, **facts)
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["video"])), schema=schema)
        for name in (SUMMARY_CSV, SUMMARY_TABLE):  # the table, which says that all is done, is the last
            with TableWriter(str(self.path / name), described, force=True) as writer:
                writer.write(table)
        self.look()
        return len(rows), sum(row["frames"] for row in rows)

    def _rows_of(self, source: Source) -> Iterator[dict[str, Any]]:
        for video in source.videos:
            with LabelledTable(str(self.path / table_name(video))) as table:
                yield summary_row(table.video(video), problem=source.problem)
