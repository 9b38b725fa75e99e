"""What rows a damaged table has by other readers than ours; an output must tell of the same frames.

Where these readers cannot read a table, or it says its frames in another way, nothing is known of it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from affcli.schema import CLASSES

Key = tuple[str, int]
Rows = Mapping[Key, list[Mapping[str, Any]]]  # of each frame


def same_frames(damaged: Path, output: Path, *, means: bool) -> str | None:
    """What is wrong with the frames of an output, and with its numbers where those are to be means of logits."""
    read, written = rows_of(damaged), rows_of(output)
    if read is None or written is None:
        return None
    if missing := read.keys() - written.keys():
        return f"lacks {len(missing)} of {len(read)} frames"
    if more := written.keys() - read.keys():
        return f"has {len(more)} frames that the input lacks"
    return _other_means(read, written) if means else None


def _other_means(read: Rows, written: Rows) -> str | None:
    """Only of logits, which some negative number tells from probabilities."""
    try:
        numbers = {key: [{name: _number(row[name]) for name in CLASSES} for row in rows] for key, rows in read.items()}
    except (KeyError, TypeError, ValueError):
        return None
    if not any(number < 0 for rows in numbers.values() for row in rows for number in row.values()):
        return None
    for key, rows in numbers.items():
        for name in CLASSES:
            known = [row[name] for row in rows if not math.isnan(row[name])]
            right = sum(known) / len(known) if known else math.nan
            if not np.isclose(_number(written[key][0].get(name)), _float32(right), 1e-5, 1e-5, equal_nan=True):
                return "another mean than the rows of the input have"
    return None


def _float32(number: float) -> float:
    """As tables of ours hold numbers: what is too large is infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(number))


def _number(value: Any) -> float:
    if value is None or value == "":
        return math.nan
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def rows_of(file: Path) -> Rows | None:
    """The rows of each frame; None where that is not known."""
    try:
        rows = _READERS[file.suffix](file)
        found = defaultdict(list)
        for row in rows:
            if {"start", "end"} & row.keys():
                return None
            found[_video(row["video"]), _frame(row["frame"])].append(row)
    except Exception:  # whatever it is: nothing is known then
        return None
    return found


def _video(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError
    return str(value)


def _frame(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(value):
        raise ValueError
    return int(value)


def _unlike(columns: list[str]) -> None:
    if len(set(columns)) != len(columns):
        raise ValueError("columns of one name")


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    table.validate(full=True)
    _unlike(table.column_names)
    return table.to_pylist()  # type: ignore[no-any-return]


def _parquet(file: Path) -> list[dict[str, Any]]:
    return _rows(pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False))


def _arrow(file: Path) -> list[dict[str, Any]]:
    data = file.read_bytes()
    if data.startswith(b"ARROW1"):
        return _rows(ipc.open_file(data).read_all())
    return _rows(ipc.open_stream(data).read_all())


def _feather(file: Path) -> list[dict[str, Any]]:
    return _rows(feather.read_table(file, memory_map=False, use_threads=False))


def _csv(file: Path) -> Iterable[dict[str, Any]]:
    csv.field_size_limit(1 << 30)
    text = file.read_bytes().decode("utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if file.suffix == ".tsv" else ",", strict=True)
    head = next(reader)
    _unlike(head)
    return [dict(zip(head, row, strict=True)) for row in reader if row]


def _json(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


_READERS: Mapping[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _feather,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json,
}
