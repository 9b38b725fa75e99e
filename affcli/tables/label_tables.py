"""Where `affcli label` puts frame tables: DIR/frames/VIDEO.parquet, and up to version 0.1.0 DIR/VIDEO.parquet."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from affcli.schema import FRAMES, SUMMARY, SUMMARY_TABLE, metadata_of

log = logging.getLogger(__name__)

TABLES_FOLDER: Final = "frames"
UNFINISHED: Final = "unfinished.parts"  # a folder, while label is at work and after it was interrupted
TABLE_SUFFIX: Final = ".parquet"
_LONGEST_NAME: Final = 180  # bytes; file systems take 255, and a temporary name is longer


def table_name(video: str) -> str:
    """The file that holds a video's frames. All lie side by side: `/` in an id (--names path) becomes `%2F`.

    `%` itself is `%25`; a dot or `_` in front, which would hide the table from other readers, `%2E` and `%5F`;
    `summary` is `%73ummary`. An id that is too long for a file name is cut, and ends in 12 digits of its hash.
    """
    return _name(video, hiding="._")


def older_name(video: str) -> str:
    """The same in folders of version 0.1.0, which did not escape `_`."""
    return _name(video, hiding=".")


def _name(video: str, *, hiding: str) -> str:
    name = video.replace("%", "%25").replace("/", "%2F")
    if name[:1] in tuple(hiding) or f"{name}{TABLE_SUFFIX}".lower() == SUMMARY_TABLE:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    encoded = name.encode()
    if len(encoded) > _LONGEST_NAME:
        kept = encoded[: _LONGEST_NAME - 13].decode(errors="ignore")
        name = f"{kept}~{blake2b(video.encode(), digest_size=6).hexdigest()}"
    return name + TABLE_SUFFIX


@dataclass(frozen=True)
class Origin:
    """The input that a table is from: its video id, its content, all the videos it gave, and what is wrong with it."""

    video: str
    fingerprint: str
    videos: tuple[str, ...]
    problem: str | None = None  # why frames may be missing

    @classmethod
    def of(cls, metadata: Mapping[str, Any], name: str) -> Origin | None:
        """What a table's metadata says; None for tables that are not of `affcli label`.

        `name` is the file's: a copy, or what another command has made of a table, does not stand under the name of one
        of its videos.
        """
        facts = metadata.get("input")
        if metadata.get("kind") != FRAMES or not isinstance(facts, dict):
            return None
        try:
            found = cls(facts["video"], facts["fingerprint"], tuple(facts["videos"]), facts["problem"])
        except (KeyError, TypeError):
            return None
        return found if found.video_of(name) is not None else None

    def video_of(self, name: str) -> str | None:
        """The video whose table has that name; None where it is none of the input's."""
        return next((video for video in self.videos if name in (table_name(video), older_name(video))), None)


def tables_beside(folder: Path) -> list[os.DirEntry[str]]:
    """The Parquet files right in a folder, by name, but for the summary and hidden ones; none for no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.name.endswith(TABLE_SUFFIX) and entry.name[0] != "."]
    return sorted((entry for entry in found if entry.name != SUMMARY_TABLE), key=lambda entry: entry.name)


def label_tables(folder: Path) -> list[Path]:
    """The frame tables in a folder of `affcli label`, by name; none for any other folder, and for those of 0.1.0.

    While a rerun moves the tables of an older folder to their place, some lie there and some beside the summary. What
    other tables lie beside the summary is none of label's, and not meant.
    """
    inside = [Path(entry.path) for entry in tables_beside(folder / TABLES_FOLDER)]
    if not inside or not (_has_summary(folder) or any(_origin(path) is not None for path in inside)):
        return []
    there = {None, *(path.name for path in inside)}
    older = [Path(entry.path) for entry in tables_beside(folder)]
    return sorted([*inside, *(path for path in older if _place(path) not in there)], key=lambda path: path.name)


def note_unfinished(source: str) -> None:
    """Says that videos are missing, where a folder of `affcli label` is not complete."""
    if (Path(source) / UNFINISHED).is_dir():
        log.warning("%s: labelling is not finished here; videos that are not done yet are missing.", source)


def _has_summary(folder: Path) -> bool:
    return metadata_in(folder / SUMMARY_TABLE).get("kind") == SUMMARY


def _origin(path: Path) -> Origin | None:
    return Origin.of(metadata_in(path), path.name)


def _place(path: Path) -> str | None:
    """The name that a table of label's has in its place."""
    origin = _origin(path)
    video = None if origin is None else origin.video_of(path.name)
    return None if video is None else table_name(video)


def metadata_in(path: Path) -> Mapping[str, Any]:
    """What a Parquet file says of itself under the key `affcli`; empty for any other file, and where there is none."""
    if not path.is_file():
        return {}
    try:
        return metadata_of(pq.read_schema(path))
    except (OSError, pa.ArrowException):
        return {}
