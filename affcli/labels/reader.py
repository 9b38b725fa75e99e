"""Reads labels: Aff-Wild2's EXPR text files, tables with `video, frame, label`, ABAW submission texts.

Whatever the source, the result is one array of class numbers a video, in which entry i belongs to frame i + 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.errors import AffcliError, listed
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.tables.reader import TableReader

_BOM = b"\xef\xbb\xbf"
_LAST_FRAME = 100_000_000  # 38 days at 30 fps: a larger number is a time stamp in the wrong column


@dataclass(frozen=True, eq=False)
class VideoLabels:
    """One video's labels: `labels[i]` (int8) is the class number of frame i + 1, -1 where nobody judged it."""

    video: str
    labels: NDArray[np.int8]


def read_labels(source: str) -> dict[str, VideoLabels]:
    """The labels of every video in a folder or file, by video name, sorted.

    A folder holds one Aff-Wild2 text a video (`NAME.txt`, `NAME_left.txt`); a file is one such text, a Parquet, CSV or
    Arrow table with `video`, `frame` (1-based) and `label` (class name or number), or an ABAW submission text.
    Raises AffcliError, naming file and line, where something cannot be a label.
    """
    path = Path(source)
    if path.is_dir():
        files = _label_files(path)
        return {file.stem: VideoLabels(file.stem, _read_text(file)) for file in files}
    if path.is_file() and _is_label_text(path):
        return {path.stem: VideoLabels(path.stem, _read_text(path))}
    with TableReader(source, text=("video",)) as table:  # a video may be called 007
        return {labels.video: labels for labels in _labels_in_table(table)}


# --- Aff-Wild2's text files ------------------------------------------------------------------------------------------


def _label_files(folder: Path) -> list[Path]:
    files = _texts_in(folder)
    if files:
        return files
    below = sorted({path.parent for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/*.txt")})
    if below:
        raise AffcliError(f"{folder}: holds no .txt files itself; did you mean {listed([str(p) for p in below])}?")
    found = listed([path.name for path in sorted(islice(folder.iterdir(), 1000))], limit=4) or "nothing"
    raise AffcliError(f"{folder}: no label files (one .txt a video) in it; found {found}.")


def _texts_in(folder: Path) -> list[Path]:
    """By name; `._NAME.txt`, which macOS leaves on foreign disks, is no label file."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".txt" and not p.name.startswith("."))


def _is_label_text(path: Path) -> bool:
    with path.open("rb") as stream:
        return set(_header_fields(stream.readline(1 << 10))) == {name.lower() for name in CLASSES}


def _header_fields(line: bytes) -> list[str]:
    text = line.removeprefix(_BOM).decode(errors="replace").lower()
    return [field.strip(" \t\r\n\"'") for field in text.split(",")]


def _read_text(path: Path) -> NDArray[np.int8]:
    """The class numbers below the header. Windows line ends, quotes, spaces and blank lines at the end do no harm."""
    header, _, body = path.read_bytes().partition(b"\n")
    _check_header(header, path)
    numbers = body.translate(None, b' \t\r"').rstrip(b"\n")
    if not numbers:
        return np.empty(0, np.int8)
    # A line is one digit or -1. With -1 written as the character before "0", every line is two bytes: no loop needed.
    before_zero = bytes([ord("0") - 1])
    lines = np.frombuffer(numbers.replace(b"-1", before_zero) + b"\n", np.uint8)
    if lines.size % 2 == 0 and before_zero not in numbers and np.all(lines[1::2] == ord("\n")):
        labels: NDArray[np.int8] = lines[::2].astype(np.int8) - np.int8(ord("0"))
        if labels.min() >= NOT_ANNOTATED and labels.max() < len(CLASSES):
            return labels
    raise _odd_line(numbers, path)


def _check_header(header: bytes, path: Path) -> None:
    fields = _header_fields(header)
    if fields == [name.lower() for name in CLASSES]:
        return
    found = header.removeprefix(_BOM).decode(errors="replace").strip()[:100]
    expected = ",".join(CLASSES)
    if sorted(fields) == sorted(name.lower() for name in CLASSES):
        raise AffcliError(f"{path}: the classes stand in another order than Aff-Wild2's: '{found}', not '{expected}'.")
    raise AffcliError(f"{path}: not an EXPR label file: the first line is '{found}', not '{expected}'.")


def _odd_line(numbers: bytes, path: Path) -> AffcliError:
    allowed = {str(number).encode() for number in range(NOT_ANNOTATED, len(CLASSES))}
    index, line = next((i, line) for i, line in enumerate(numbers.split(b"\n")) if line not in allowed)
    found = f"'{line.decode(errors='replace')}'" if line else "a blank line"
    expected = f"a class number from {NOT_ANNOTATED} to {len(CLASSES) - 1}"
    return AffcliError(f"{path}, line {index + 2}: {found} where {expected} should stand.")


# --- tables ----------------------------------------------------------------------------------------------------------


def _labels_in_table(table: TableReader) -> Iterator[VideoLabels]:
    table.require("video", "frame", "label")
    rows = table.read(["video", "frame", "label"])
    if not rows.num_rows:
        raise AffcliError(f"{table.name}: has no rows, so no labels.")
    video = _text(rows["video"]).combine_chunks().dictionary_encode()
    if video.null_count:
        raise AffcliError(f"{table.name}: {video.null_count} rows have no video name.")
    frame, label = _frames(rows["frame"], table.name), class_numbers(rows["label"], f"{table.name}: column 'label'")
    code = video.indices.to_numpy()
    order = np.lexsort((frame, code))
    code, frame, label = code[order], frame[order], label[order]
    names = video.dictionary.to_pylist()
    _refuse_duplicates(names, code, frame, table.name)
    ends = np.searchsorted(code, np.arange(len(names)), side="right")
    rows_of = dict(zip(names, np.split(np.arange(code.size), ends[:-1]), strict=True))
    for name in sorted(names):
        yield VideoLabels(name, _dense(frame[rows_of[name]], label[rows_of[name]]))


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _frames(column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
    if not pa.types.is_integer(column.type) or column.null_count:
        found = f"{column.null_count} of them are missing" if column.null_count else f"they are {column.type}"
        raise AffcliError(f"{name}: column 'frame' must hold whole numbers; {found}.")
    frames: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    if frames.min() < 1:
        raise AffcliError(f"{name}: frame {frames.min()} in labels; frames are numbered from 1.")
    if frames.max() > _LAST_FRAME:
        raise AffcliError(f"{name}: frame {frames.max()} in labels; column 'frame' must hold frame numbers.")
    return frames


def _refuse_duplicates(names: list[str], code: NDArray[np.int32], frame: NDArray[np.int64], source: str) -> None:
    twice = np.flatnonzero((code[1:] == code[:-1]) & (frame[1:] == frame[:-1]))
    if twice.size:
        at = twice[0]
        raise AffcliError(f"{source}: video '{names[code[at]]}', frame {frame[at]} has more than one label.")


def _dense(frame: NDArray[np.int64], label: NDArray[np.int8]) -> NDArray[np.int8]:
    labels = np.full(frame[-1], NOT_ANNOTATED, np.int8)
    labels[frame - 1] = label
    return labels


def class_numbers(column: pa.ChunkedArray, where: str) -> NDArray[np.int8]:
    """A column of class names (in any case) or class numbers as class numbers; nulls, empty texts and -1 become -1.

    `where` names file and column in errors.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _numbers_of_names(column, where)
    if pa.types.is_null(column.type):
        return np.full(len(column), NOT_ANNOTATED, np.int8)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise AffcliError(f"{where} holds {column.type}, neither class names nor class numbers.")
    numbers: NDArray[np.float64] = column.to_numpy().astype(np.float64)
    numbers[np.isnan(numbers)] = NOT_ANNOTATED
    odd = (numbers < NOT_ANNOTATED) | (numbers >= len(CLASSES)) | (numbers % 1 != 0)
    if odd.any():
        found = column[int(np.argmax(odd))].as_py()
        raise AffcliError(f"{where} holds {found}, not a class number from {NOT_ANNOTATED} to {len(CLASSES) - 1}.")
    return numbers.astype(np.int8)


def _numbers_of_names(column: pa.ChunkedArray, where: str) -> NDArray[np.int8]:
    # A column has few distinct texts, so only those are looked at one by one.
    encoded = column.combine_chunks().dictionary_encode()
    number_of = {name.lower(): number for number, name in enumerate(CLASSES)} | {"": NOT_ANNOTATED, "-1": NOT_ANNOTATED}
    names = [text.strip() for text in encoded.dictionary.to_pylist()]
    unknown = [name for name in names if name.lower() not in number_of]
    if unknown:
        raise AffcliError(f"{where} holds '{unknown[0]}', none of the classes {listed(CLASSES)}.")
    numbers = np.array([*(number_of[name.lower()] for name in names), NOT_ANNOTATED], np.int8)
    index: NDArray[np.int32] = pc.fill_null(encoded.indices, len(names)).to_numpy(zero_copy_only=False)
    return numbers[index]
