"""Aff-Wild2's EXPR label texts: one file for each video, the class names in the first line, then one class number
(or -1, not annotated) for each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.class_words import class_of
from affcli.errors import LabelError
from affcli.schema import CLASSES, NOT_ANNOTATED

_BOM: Final = b"\xef\xbb\xbf"
_HEADER_BYTES: Final = 1 << 10


def texts_in(folder: Path) -> list[Path]:
    """The .txt files of a folder by name; `._NAME.txt`, which macOS leaves on foreign disks, is no label file."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".txt" and not p.name.startswith("."))


def looks_like_label_text(path: Path) -> bool:
    """Whether a file can only be meant as a label text: its first line names classes and nothing else, or, in a .txt
    file, the annotations of ABAW's other challenges (valence and arousal, action units).
    """
    with path.open("rb") as stream:
        fields = _fields(stream.readline(_HEADER_BYTES))
    if len(fields) > 1 and all(map(class_of, fields)):
        return True
    of_others = "valence" in fields or all(field.startswith("au") for field in fields)
    return path.suffix.lower() == ".txt" and of_others and not {"video", "frame"} & set(fields)


def read_label_text(path: Path) -> NDArray[np.int8]:
    """The class numbers [frames] below the header, which may name the eight classes in any order.

    Windows line ends, a byte-order mark, quotes, spaces and blank lines at the end do no harm. Raises LabelError,
    naming file and line, for another header and for a line that is no class number.
    """
    header, _, body = path.read_bytes().partition(b"\n")
    order = _order(header, path)
    numbers = body.translate(None, b' \t\r"').rstrip(b"\n")
    if not numbers:
        return np.empty(0, np.int8)
    # A line is one digit or -1. With -1 written as the character before "0", every line is two bytes: no loop needed.
    before_zero = bytes([ord("0") - 1])
    lines = np.frombuffer(numbers.replace(b"-1", before_zero) + b"\n", np.uint8)
    if lines.size % 2 == 0 and before_zero not in numbers and np.all(lines[1::2] == ord("\n")):
        labels: NDArray[np.int8] = lines[::2].astype(np.int8) - np.int8(ord("0"))
        if labels.min() >= NOT_ANNOTATED and labels.max() < len(CLASSES):
            return labels if order is None else np.append(order, np.int8(NOT_ANNOTATED))[labels]
    raise _odd_line(numbers, path)


def _fields(line: bytes) -> list[str]:
    text = line.removeprefix(_BOM).decode(errors="replace").lower()
    return [field.strip(" \t\r\n\"'") for field in text.split(",")]


def _order(header: bytes, path: Path) -> NDArray[np.int8] | None:
    """The class number of each number of the file; None where the header has Aff-Wild2's order."""
    fields, names = _fields(header), [name.lower() for name in CLASSES]
    if fields == names:
        return None
    if sorted(fields) == sorted(names):
        return np.array([names.index(field) for field in fields], np.int8)
    found = header.removeprefix(_BOM).decode(errors="replace").strip()[:100]
    hint = ""
    if len(fields) > 1 and all(class_of(field) for field in fields):
        hint = " Labels of other classes can be given as a table with the columns video, frame and label."
    raise LabelError(f"{path}: not an EXPR label file: the first line is '{found}', not '{','.join(CLASSES)}'.{hint}")


def _odd_line(numbers: bytes, path: Path) -> LabelError:
    allowed = {str(number).encode() for number in range(NOT_ANNOTATED, len(CLASSES))}
    index, line = next((i, line) for i, line in enumerate(numbers.split(b"\n")) if line not in allowed)
    found = f"'{line.decode(errors='replace')}'" if line else "a blank line"
    expected = f"a class number from {NOT_ANNOTATED} to {len(CLASSES) - 1}"
    return LabelError(f"{path}, line {index + 2}: {found} where {expected} should stand.")
