"""The tables in a folder, and what their places say of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from affcli.errors import TableError
from affcli.files.outputs import STANDARD_STREAM
from affcli.files.shown_name import shown_name
from affcli.schema import STATUS, SUMMARY, SUMMARY_CSV, SUMMARY_TABLE
from affcli.tables.content import COMPRESSED_SUFFIXES
from affcli.tables.label_tables import label_tables, metadata_in
from affcli.tables.writer import FORMAT_OF_SUFFIX

JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")
_TABLE_SUFFIXES: Final = frozenset(FORMAT_OF_SUFFIX) - {".txt"}
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"


def tables_in(source: str) -> list[str]:
    """The tables in a folder, by name, but for what sums up the others; any other source by itself.

    A folder of `affcli label` gives the tables of its videos, and nothing else that lies in it.
    A folder partitioned as Hive, Spark and DuckDB do it (`video=a1/part-0.parquet`) gives the tables in its folders.
    JSON files are taken for tables only where there are no others: they may be about them.
    """
    path = Path(source)
    if source == STANDARD_STREAM or not path.is_dir():
        return [source]
    if found := label_tables(path):
        return [str(file) for file in found]
    files = _files_in(path)
    tables = [file for file in files if _suffix(file) in _TABLE_SUFFIXES]
    if metadata_in(path / SUMMARY_TABLE).get("kind") == SUMMARY:
        tables = [file for file in tables if file.name not in (SUMMARY_TABLE, SUMMARY_CSV)]
    tables = tables or [file for file in files if _suffix(file) in JSON_SUFFIXES and file.name != STATUS]
    if not tables:
        suffixes = ", ".join(sorted(_TABLE_SUFFIXES))
        raise TableError(f"{source}: no tables in this folder ({suffixes}).")
    return [str(file) for file in tables]


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder, and of its partitions, by name; none that begins with `.` or, in partitions, with `_`."""
    entries = sorted(folder.iterdir())
    files = [entry for entry in entries if entry.name[0] != "." and entry.is_file()]
    partitions = [entry for entry in entries if _is_partition(entry.name) and entry.is_dir()]
    inner = [file for one in partitions for file in _files_in(one) if file.name[0] != "_"]
    return files + inner


def _suffix(file: Path) -> str:
    """In lower case, below that of a compression (`.csv.gz` is `.csv`)."""
    name = file.name.lower()
    for compressed in COMPRESSED_SUFFIXES:
        name = name.removesuffix(compressed)
    return Path(name).suffix


def table_stem(source: str) -> str:
    """A table's name without folders and suffixes: `x/a1.csv.gz` is `a1`."""
    name = shown_name(Path(source).name)
    for compressed in COMPRESSED_SUFFIXES:
        if name.lower().endswith(compressed):
            name = name[: -len(compressed)]
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - Path has no splitting of a name
    return stem if suffix.lower() in (*_TABLE_SUFFIXES, ".txt", *JSON_SUFFIXES) else name


def partitions_of(source: str) -> dict[str, str]:
    """What the folders `key=value` above a table say of all its rows."""
    if source == STANDARD_STREAM:
        return {}
    found = [part.partition("=") for part in Path(source).parent.parts if _is_partition(part)]
    return {key: unquote(value) for key, _, value in found if value != _NO_VALUE}


def _is_partition(name: str) -> bool:
    key, equals, value = name.partition("=")
    return bool(equals and value) and key.isidentifier()
