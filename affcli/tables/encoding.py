"""The encoding of a text: UTF-8 with or without a byte-order mark, or UTF-16, which is turned into UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import IO, Final

from affcli.errors import TableError

_MARKS: Final = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def utf16_of(head: bytes) -> str | None:
    """The name of the encoding where a text that begins so is UTF-16 or UTF-32, with a byte-order mark or without."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[0:512:2], head[1:512:2]
    if len(odd) < 4 or head.startswith(codecs.BOM_UTF8):
        return None
    if odd.count(0) > 0.9 * len(odd) and not even.count(0):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > 0.9 * len(even) and not odd.count(0) else None


def write_as_utf8(path: Path, encoding: str, into: IO[bytes], name: str) -> None:
    """Writes a text to `into` as UTF-8. Raises TableError where it is not in that encoding."""
    try:
        with path.open(encoding=encoding, newline="") as stream:
            while block := stream.read(1 << 20):
                into.write(block.encode())
    except UnicodeError as error:
        raise TableError(f"{name}: begins as {encoding.upper()} text, and does not go on so ({error}).") from error
    into.flush()


def decoded_head(path: Path, name: str, most: int) -> str:
    """The first lines of a text in UTF-8, about `most` bytes, whole lines; bytes that are no UTF-8 become U+FFFD.

    Raises TableError for bytes that no text holds.
    """
    with path.open("rb") as stream:
        head = stream.read(most)
        whole = not stream.read(1)
    if b"\0" in head:
        raise TableError(f"{name}: not a table: neither Parquet, Arrow nor text.")
    if not whole and b"\n" in head:
        head = head[: head.rindex(b"\n") + 1]
    return head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
