"""How a text of rows is written (delimiter, decimal mark, header, what stands before it), told by its first lines."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

from affcli.errors import counted

DELIMITERS: Final = (",", "\t", ";", "|")
BLANKS: Final = " "  # fields between runs of blanks, as numpy.savetxt writes them
SAMPLE_BYTES: Final = 1 << 18
_SAMPLE_ROWS: Final = 200

_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_COMMA_DECIMAL: Final = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_POINT_DECIMAL: Final = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a text of rows is written.

    `names` are the columns of a line, in order; None for a field that is no column (nameless and empty, or a row
    number). `skipped_lines` come before the first row. `blanks`: fields have blanks around them that are not part of
    them. `quoted_after_blanks`: quotation marks come after such blanks. `notes` say what a user should know of it.
    """

    delimiter: str
    names: tuple[str | None, ...]
    skipped_lines: int
    decimal: str = "."
    blanks: bool = False
    quoted_after_blanks: bool = False
    notes: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether rows can be told apart by delimiter and quotation marks alone."""
        return self.delimiter != BLANKS and not self.quoted_after_blanks


def find_dialect(text: str, delimiter: str | None = None) -> Dialect:
    """The dialect of a text that begins so (whole lines); `delimiter` is known where the user named one."""
    lines = _LINE_END.split(text)
    body_start = _after_comments(lines)
    body = lines[body_start:]
    found = delimiter or _delimiter(body)
    records, ends = _records(body, found)
    if body_start and _is_header_of(lines[body_start - 1], records, found):
        names, rows, before, after = _fields(_uncommented(lines[body_start - 1]), found), records, 0, body_start
    else:
        header = 0 if body_start else _unmistakable_header(records)
        names, rows = (records[header], records[header + 1 :]) if records else ([], [])
        before = body_start + (ends[header - 1] if header else 0)
        after = body_start + (ends[header] if records else 0)
    decimal = _decimal_mark(rows)
    blanks, quoted_after_blanks = _blanks(lines[before : before + _SAMPLE_ROWS], found)
    return Dialect(
        found,
        _columns(names, rows),
        after,
        decimal,
        blanks=blanks,
        quoted_after_blanks=quoted_after_blanks,
        notes=_notes(found, decimal, before),
    )


def _notes(delimiter: str, decimal: str, skipped: int) -> tuple[str, ...]:
    notes = [f"skipped {counted(skipped, 'line')} before the header"] if skipped else []
    if decimal == ",":
        notes.append(f"read with decimal commas, and {_called(delimiter)} between fields")
    return tuple(notes)


def _called(delimiter: str) -> str:
    return {"\t": "tabs", " ": "blanks"}.get(delimiter, f"'{delimiter}'")


def _after_comments(lines: Sequence[str]) -> int:
    """The first line that is neither a comment (`#…`) nor blank; 0 where there is none.

    iMotions ends its own facts about a recording with a line `#DATA`, whatever stands before it.
    """
    for number, line in enumerate(lines[:1000]):
        if line.strip(' ",;\t').upper() == "#DATA":
            return next((at for at in range(number + 1, len(lines)) if lines[at].strip()), 0)
    return next((at for at, line in enumerate(lines) if line.strip() and not _is_comment(line)), 0)


def _is_comment(line: str) -> bool:
    return line.lstrip(' "').startswith("#")


def _uncommented(line: str) -> str:
    return line.strip().lstrip("#").strip()


def _is_header_of(comment: str, records: Sequence[Sequence[str]], delimiter: str) -> bool:
    """Whether the last comment is the header, as numpy.savetxt writes it: the rows below begin at once."""
    if not _is_comment(comment) or not records or _looks_like_header(records[0]):
        return False
    fields = _fields(_uncommented(comment), delimiter)
    return len(fields) == len(records[0]) > 1 and _looks_like_header(fields)


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter that gives the most rows the same number of fields, and the more fields the better."""
    written = [line for line in lines if line.strip()]
    if len(written) < 2:
        first = written[0] if written else ""
        best = max(DELIMITERS, key=first.count)
        return best if first.count(best) or len(first.split()) < 2 else BLANKS
    scores = {delimiter: _consistency(lines, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    if scores[best][1] > 1:
        return best
    in_blanks = _consistency(lines, BLANKS)
    return BLANKS if in_blanks[0] == 1 and in_blanks[1] > 1 else best


def _consistency(lines: Sequence[str], delimiter: str) -> tuple[float, int]:
    """The share of rows with the usual number of fields, and that number; (0, 1) where a row is one field."""
    counts = Counter(len(record) for record in _records(lines, delimiter)[0])
    fields, rows = max(counts.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
    return (rows / counts.total(), fields) if fields > 1 else (0.0, 1)


def _records(lines: Sequence[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The fields of the first rows, blank lines left out, and after which line each of them ends."""
    if delimiter == BLANKS:
        found = [(line.split(), at + 1) for at, line in enumerate(lines[: 2 * _SAMPLE_ROWS]) if line.strip()]
        return [fields for fields, _ in found], [end for _, end in found]
    records, ends = [], []
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True)
    for fields in islice(_as_far_as_they_go(reader), 2 * _SAMPLE_ROWS):
        if any(map(str.strip, fields)) or len(fields) > 1:
            records.append([field.rstrip("\n") for field in fields])
            ends.append(reader.line_num)
    return records, ends


def _as_far_as_they_go(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """The rows before one that has a field larger than csv allows: they tell enough."""
    with suppress(csv.Error):
        yield from rows


def _fields(line: str, delimiter: str) -> list[str]:
    records, _ = _records([line], delimiter)
    return records[0] if records else []


def _unmistakable_header(records: Sequence[Sequence[str]]) -> int:
    """The row of the header where other things stand before it: from there on all rows have one number of fields,
    which no line before has, and the row consists of different words, none of them a number. Else the first row.
    """
    if len(records) < 3 or len({len(record) for record in records}) == 1:
        return 0
    fields = len(records[-1])
    first = len(records)
    while first and len(records[first - 1]) == fields:
        first -= 1
    if first == 0 or len(records) - first < 2 or fields < 3:
        return 0
    before = records[:first]
    clear = all(len(record) != fields for record in before) and _looks_like_header(records[first])
    return (
        first if clear and not _looks_like_header(records[first + 1]) and not _may_be_header(before[0], fields) else 0
    )


def _may_be_header(record: Sequence[str], fields: int) -> bool:
    """Whether the first line itself is the header of rows that have a field more, or less, than it names."""
    return abs(len(record) - fields) <= 1 and _looks_like_header(record)


def _looks_like_header(record: Sequence[str]) -> bool:
    """Different words, none of them a number."""
    words = [field.strip() for field in record]
    return all(words) and len(set(words)) == len(words) and not any(map(_is_number, words))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str | None, ...]:
    """The names of the columns; None for a field that is none.

    Nameless fields that are empty in every row (spreadsheets) are none, nor is a nameless first field that numbers the
    rows (pandas' index). Where rows have a field more than the header, they begin with their numbers (R), or end in a
    delimiter.
    """
    names: list[str | None] = [name.strip() for name in header]
    longer = {len(row) for row in rows} == {len(names) + 1}
    if rows and longer and not any(row[-1].strip() for row in rows):
        names.append("")
    elif rows and longer and _numbers_rows([row[0] for row in rows]):
        names.insert(0, "")
    return tuple(name or _nameless(at, [row[at] for row in rows if at < len(row)]) for at, name in enumerate(names))


def _nameless(at: int, fields: Sequence[str]) -> str | None:
    if not any(field.strip() for field in fields) or (at == 0 and _numbers_rows(fields)):
        return None
    return f"unnamed_{at + 1}"


def _numbers_rows(fields: Sequence[str]) -> bool:
    """Whether two fields or more count up one by one from 0 or 1, as row numbers do."""
    numbers = [int(field) for field in fields if field.strip().isascii() and field.strip().isdigit()]
    counted_up = list(range(numbers[0], numbers[0] + len(numbers))) if numbers and numbers[0] in (0, 1) else []
    return len(fields) > 1 and len(numbers) == len(fields) and numbers == counted_up


def _decimal_mark(rows: Sequence[Sequence[str]]) -> str:
    fields = [field.strip() for row in rows for field in row]
    commas = sum(bool(_COMMA_DECIMAL.fullmatch(field)) for field in fields)
    points = sum(bool(_POINT_DECIMAL.fullmatch(field)) for field in fields)
    return "," if commas > points else "."


def _blanks(lines: Sequence[str], delimiter: str) -> tuple[bool, bool]:
    """Whether blanks that belong to no field stand around fields, in the header or in nearly every row; and whether a
    quotation mark comes after such blanks.
    """
    if delimiter == BLANKS:
        return False, False
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
    records = [record for record in _as_far_as_they_go(reader) if record]
    marked = [any(field.rstrip("\n") != field.strip() for field in record) for record in records]
    blanks = bool(records) and (marked[0] or sum(marked) > 0.9 * len(marked))
    return blanks, any(field.lstrip(" ").startswith('"') for record in records for field in record if field[:1] == " ")
