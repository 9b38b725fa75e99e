"""FER2013's own texts: a row for each picture, whose grey values stand in it as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from affcli.errors import FaceSetError


@dataclass(frozen=True)
class PixelRow:
    """A picture: its `usage` in lower case and its `emotion`, as written, "" where there is no such column; and where
    its grey values stand, `span` (first byte, bytes).
    """

    usage: str
    emotion: str
    span: tuple[int, int]


def pixel_rows(path: Path) -> Iterator[PixelRow]:
    """The rows of `fer2013.csv`, `icml_face_data.csv` or `train.csv`, whose columns may come in any order.

    Raises FaceSetError where there are no pixels, or a row has another number of fields than the header.
    """
    with path.open("rb") as stream:
        first = stream.readline()
        header = [name.strip(b' \t\r\n"').lower() for name in first.removeprefix(b"\xef\xbb\xbf").split(b",")]
        if b"pixels" not in header:
            raise FaceSetError(f"{path}: has no column 'pixels'.")
        start = stream.tell()
        for line in stream:
            fields = line.split(b",")
            if len(fields) == len(header):
                yield _row(fields, header, start)
            elif line.strip():
                shown = line[:20].decode(errors="replace").strip()
                raise FaceSetError(f"{path}, row '{shown}…': has {len(fields)} fields, not {len(header)}.")
            start += len(line)


def _row(fields: list[bytes], header: list[bytes], start: int) -> PixelRow:
    named = dict(zip(header, fields, strict=True))
    usage, emotion = (
        named.get(name, b"").strip(b' \t\r\n"').decode(errors="replace") for name in (b"usage", b"emotion")
    )
    pixels = header.index(b"pixels")
    before = sum(len(field) + 1 for field in fields[:pixels])
    return PixelRow(usage.lower(), emotion, (start + before, len(fields[pixels])))
