"""People in one video: which column tells them apart, and tables whose video ids name the person (`video#id`)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affcli.errors import ColumnError
from affcli.tables.given import Source
from affcli.tables.reader import TableReader, plain_type

# Columns that tell people apart, as trackers and face detectors call them.
_PERSON: Final = re.compile(
    r"^(face|person|track|tracklet|subject|actor|speaker|participant|individual|people|identity|identities)"
    r"([_ .-]?(id|ids|idx|index|no|nr|num|number|name))?$|^(pid|tid)$",
    re.IGNORECASE,
)


def tells_people_apart(column: str, kind: pa.DataType) -> bool:
    """Whether a column is named as one of person ids, and holds ids: text or numbers, not true and false."""
    kind = plain_type(kind)
    ids = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    return bool(_PERSON.match(column)) and bool(ids or pa.types.is_floating(kind))


def person_columns(schema: pa.Schema, others: Collection[str] = ()) -> list[str]:
    """The columns of a table that are named as person ids are, but for `others`, which mean something else."""
    return [field.name for field in schema if field.name not in others and tells_people_apart(field.name, field.type)]


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionaries and views."""
    return column.cast(plain_type(column.type))


class PersonTable(TableReader):
    """A table whose video ids are `video#id`, the id from the column `person`; a row without one keeps the video's."""

    def __init__(self, source: Source, *, video: str, person: str, **options: Any) -> None:
        super().__init__(source, text=(video, person), **options)
        self._video, self._person = video, person

    def dictionary_chunks(self, column: str) -> Iterator[pa.DictionaryArray]:
        """The ids of a column of videos in file order, piece by piece, dictionary-encoded, with the person's."""
        if column != self._video or self._person not in self.schema.names:
            yield from super().dictionary_chunks(column)
            return
        for index in range(len(self.row_groups)):
            rows = self.read_group(index, [self._video, self._person])
            yield from with_person(rows, self._video, self._person, self.name).chunks


def with_person(rows: pa.Table, video: str, person: str, source: str) -> pa.ChunkedArray:
    """`video#id` for each row, dictionary-encoded; `source` is for errors."""
    named = _text(rows[video], video, source)
    ids = _ids(rows[person], person, source)
    together = pc.binary_join_element_wise(named, ids, "#")
    return pa.chunked_array(pc.if_else(pc.is_null(ids), named, together)).dictionary_encode()


def _ids(column: pa.ChunkedArray, name: str, source: str) -> pa.ChunkedArray:
    """Ids as text; whole floats, which pandas makes of integers with gaps, without their `.0`; empty texts as null."""
    if pa.types.is_floating(column.type):
        try:
            column = column.cast(pa.float64()).cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ColumnError(f"{source}: column '{name}' holds {column.type} with fractions, not ids.") from error
    text = pc.replace_substring_regex(_text(column, name, source), r"^(\d+)\.0+$", r"\1")  # so does CSV write them
    return pc.if_else(pc.equal(text, ""), None, text)


def _text(column: pa.ChunkedArray, name: str, source: str) -> pa.ChunkedArray:
    try:
        return plain_column(column).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ColumnError(f"{source}: column '{name}' holds {column.type}, not ids.") from error
