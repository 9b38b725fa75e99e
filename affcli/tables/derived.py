"""Columns that a table lacks and its users need: ids and frames told by file names, folders and paths of pictures.

video=a1/part-0.parquet      every row is of video a1
a1.csv, without `video`      every row is of video a1
image_location               a1/00012.jpg is frame 12 of video a1
--video-stem                 clips/a1.mp4 is video a1
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from affcli.errors import ColumnError
from affcli.files.inputs import PICTURE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES
from affcli.files.outputs import STANDARD_STREAM
from affcli.tables.folders import partitions_of, table_stem
from affcli.tables.keys import id_names

log = logging.getLogger(__name__)

# Columns that hold paths of frames as pictures, as ABAW's sample lists and other tools call them.
LOCATIONS: Final = ("image_location", "image_path", "img_path", "image_name", "image")
# A column of text with one of these in its name may hold the ids that are missing.
_ID_WORDS: Final = re.compile(
    r"video|clip|file|input|movie|path|source|recording|image|name|subject|sequence|\bid\b|_id$"
)
_MEDIA: Final = VIDEO_SUFFIXES | SOUND_SUFFIXES | PICTURE_SUFFIXES
_LOCATION: Final = r"^(?P<video>.*[^/])/+0*(?P<frame>[0-9]{1,9})(?:\.[A-Za-z0-9]+)?$"
# What comes before the folder of a video, and what stays of it.
_PREFIXES: Final = (
    (r"^(?:.*/)?cropped_aligned/", ""),
    (r"^(?:/|[A-Za-z]:/)(?:.*/)?([^/]+/[^/]+)$", r"\1"),
    (r"^(?:\./+)+", ""),
)
_told: set[str] = set()  # what has been noted, so that the tables of a folder say it once


@dataclass(frozen=True)
class Derived:
    """A column made of another (`source`), or of none; `make` gets that column, or how many rows there are."""

    name: str
    kind: pa.DataType
    source: str | None
    make: Callable[[pa.ChunkedArray | int], pa.ChunkedArray | pa.Array]


def derived_columns(source: str, schema: pa.Schema, video: str | None, *, stems: bool) -> list[Derived]:
    """The columns to add to the table at `source`, whose ids are looked for in the column `video` (None: in none)."""
    if video is None:
        return []
    found = [_constant(key, value) for key, value in partitions_of(source).items() if key not in schema.names]
    names = {*schema.names, *(one.name for one in found)}
    if video in names:
        return [*found, _stemmed(source, video)] if stems and video in schema.names else found
    if (column := _location_column(source, schema)) is not None:
        return [*found, *_of_locations(source, column, has_frames="frame" in names)]
    if video == "video" and _may_be_one_video(source, schema):
        stem = table_stem(source)
        _note_once(source, f"{source}: no column 'video', so all rows are of video '{stem}' (the file's name)")
        found.append(_constant("video", stem))
    return found


def _note_once(source: str, note: str) -> None:
    """Says it for the first table of a folder only."""
    place = str(PurePosixPath(source).parent) + note.partition(": ")[2][:20]
    if place not in _told:
        _told.add(place)
        log.warning("%s", note)


def _constant(name: str, value: str) -> Derived:
    return Derived(name, pa.dictionary(pa.int32(), pa.string()), None, lambda rows: _repeated(value, rows))


def _repeated(value: str, rows: pa.ChunkedArray | int) -> pa.DictionaryArray:
    assert isinstance(rows, int)
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([value]))


def _may_be_one_video(source: str, schema: pa.Schema) -> bool:
    """Whether a table without ids can be of one video: it has a file name, frames, and no column that may hold ids."""
    texts = [field.name.lower() for field in schema if _is_text(field.type)]
    keyed = "frame" in schema.names or {"start", "end"} <= set(schema.names)
    return source != STANDARD_STREAM and keyed and not any(map(_ID_WORDS.search, texts))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


# --- paths of pictures -----------------------------------------------------------------------------------------------


def _location_column(source: str, schema: pa.Schema) -> str | None:
    """The column of paths of pictures in a table without ids; only `image_location` says so by its name alone."""
    if "frame" in schema.names:
        return None
    by_name = {field.name.lower(): field for field in schema}
    return next(
        (by_name[name].name for name in LOCATIONS[:4] if name in by_name and _is_text(by_name[name].type)), None
    )


def _of_locations(source: str, column: str, *, has_frames: bool) -> list[Derived]:
    _note_once(source, f"{source}: video and frame are read from the column '{column}'")
    video = Derived("video", pa.string(), column, lambda paths: split_locations(source, column, paths)[0])
    frame = Derived("frame", pa.int32(), column, lambda paths: split_locations(source, column, paths)[1])
    return [video] if has_frames else [video, frame]


def split_locations(name: str, column: str, paths: pa.ChunkedArray | int) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Videos and frame numbers int32 of paths such as `a1/00012.jpg`, `cropped_aligned/a1/00012.jpg`, `a1\\00012.jpg`.

    The video is the folder that holds the picture, as it is written below `cropped_aligned` or the first folder; of an
    absolute path only its last folder. Raises ColumnError for a path of another kind.
    """
    assert not isinstance(paths, int)
    plain = pc.replace_substring(paths.cast(pa.string()), "\\", "/")
    for prefix, kept in _PREFIXES:
        plain = pc.replace_substring_regex(plain, prefix, kept)
    parts = pc.extract_regex(plain, _LOCATION)
    if parts.null_count:
        odd = paths.filter(pc.is_null(parts))[0].as_py()
        raise ColumnError(
            f"{name}: column '{column}' holds '{odd}', not a picture of a video such as 'clip/00001.jpg'."
        )
    return pc.struct_field(parts, "video"), pc.struct_field(parts, "frame").cast(pa.int32())


# --- ids with suffixes -----------------------------------------------------------------------------------------------


def _stemmed(source: str, video: str) -> Derived:
    known: dict[str, str] = {}
    return Derived(video, pa.string(), video, lambda ids: _stems(source, video, ids, known))


def _stems(source: str, video: str, ids: pa.ChunkedArray | int, known: dict[str, str]) -> pa.ChunkedArray:
    assert not isinstance(ids, int)
    encoded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
    chunks = []
    for chunk in encoded.chunks:
        stems = [stem_of_id(name) for name in id_names(source, video, chunk.dictionary)]
        for stem, name in zip(stems, chunk.dictionary.to_pylist(), strict=True):
            if (other := known.setdefault(stem, str(name))) != str(name):
                raise ColumnError(f"{source}: '{other}' and '{name}' have one stem, '{stem}'. Leave --video-stem out.")
        chunks.append(pa.array(stems, pa.string()).take(chunk.indices))
    return pa.chunked_array(chunks, pa.string())


def stem_of_id(name: str) -> str:
    """The id without folders and without the suffix of a video, sound or picture: `clips/a1.mp4` is `a1`."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem, dot, suffix = last.rpartition(".")
    return stem if stem and f"{dot}{suffix.lower()}" in _MEDIA else last


def with_derived(table: pa.Table, derived: Sequence[Derived], columns: Sequence[str]) -> pa.Table:
    """The columns of a table, those that are derived made from it."""
    made = {one.name: one for one in derived}
    arrays = []
    for name in columns:
        one = made.get(name)
        if one is None:
            arrays.append(table[name])
        else:
            arrays.append(one.make(table.num_rows if one.source is None else table[one.source]))
    return pa.table(arrays, names=list(columns))
