"""Damages bytes and texts: each function takes some, and a source of randomness, and gives them back worse."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

# Texts that mean something to a terminal, a shell, a file system, a page, or a reader of numbers.
TEXTS = (
    "", " ", "-1", "0", "1e400", "-1e400", "nan", "NaN", "inf", "-inf", "null", "None", "NA", "TRUE", "0x10", "1_000",
    "9" * 40, "2147483647", "2147483648", "9223372036854775808", "-9223372036854775809", "1.5", "1,5", "१२", "½",
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x07", "\x08\x08", "\r", "\n", "\r\n", "\t", "\x00", "\x7f", "\x9b2J",
    "../../outside", "/etc/outside", "..", ".", "a/../../b", "%2F..%2F", "C:\\x", "~", "$(touch outside)", "`id`",
    "<script>alert(1)</script>", "&lt;", "'; DROP TABLE x; --", '"', '""', "'", '"unfinished', "=1+1", "{}", "[", "]]>",
    "ü", "日本", "\u202eevil", "\ufeff", "\u2028", "e\u0301" * 50, "x" * 300, "y" * 100_000, "\U0010ffff", "#1", "a#1",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e-320)


def flip_bits(data: bytes, random: Random) -> bytes:
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        found[_place(len(found), random)] ^= 1 << random.randrange(8)
    return bytes(found)


def cut(data: bytes, random: Random) -> bytes:
    """The end, or a piece of the middle, is gone."""
    start = _place(len(data), random)
    return data[:start] if random.random() < 0.6 else data[:start] + data[start + random.randint(1, 64) :]


def repeat(data: bytes, random: Random) -> bytes:
    start = _place(len(data), random)
    piece = data[start : start + random.randint(1, 512)]
    return data[:start] + piece * random.choice((2, 2, 3, 50)) + data[start + len(piece) :]


def overwrite(data: bytes, random: Random) -> bytes:
    """Numbers become huge, negative or nothing: runs of one byte, or an integer of 1 to 8 bytes."""
    kind = random.randrange(4)
    if kind == 0:
        new = bytes([random.choice((0x00, 0xFF, 0x7F, 0x80, 0x20))]) * random.choice((1, 2, 4, 8, 64))
    elif kind == 1:
        number, order = random.choice((2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**24)), random.choice(("little", "big"))
        new = number.to_bytes(8, order)
    elif kind == 2:  # of variable length, as in Parquet's footers
        new = b"\xff" * random.randint(2, 8) + b"\x7f"
    else:
        new = random.randbytes(random.randint(1, 64))
    start = _place(len(data), random)
    return data[:start] + new + data[start + len(new) :]


def swap(data: bytes, random: Random) -> bytes:
    """Two pieces change places."""
    size = random.randint(1, max(1, min(64, len(data) // 4)))
    one, other = sorted((_place(len(data), random), _place(len(data), random)))
    if one + size > other:
        return data[::-1]
    return (
        data[:one]
        + data[other : other + size]
        + data[one + size : other]
        + data[one : one + size]
        + data[other + size :]
    )


def surround(data: bytes, random: Random) -> bytes:
    """Something stands before or behind it that does not belong there."""
    extra = random.choice((b"\0" * 512, b"\xef\xbb\xbf", b"\xff\xfe", b"PAR1", b"\n\n", random.randbytes(100), data))
    return extra + data if random.random() < 0.5 else data + extra


def replace_all(data: bytes, random: Random) -> bytes:
    """The name is right and the content is another."""
    size = random.choice((0, 1, 3, 8, 4096))
    return random.choice((random.randbytes(size), b"\0" * size, b"{}", b"[]", b"null", b"<html></html>", data[:8]))


_BYTES: Sequence[Callable[[bytes, Random], bytes]] = (
    flip_bits, flip_bits, flip_bits, overwrite, overwrite, cut, repeat, swap, surround, replace_all,
)  # fmt: skip


def damaged(data: bytes, random: Random) -> bytes:
    """One kind of damage, sometimes two."""
    for _ in range(random.choice((1, 1, 1, 2))):
        if data:
            data = random.choice(_BYTES)(data, random)
    return data


def _place(size: int, random: Random) -> int:
    """Anywhere, but more often in the first and last 200 bytes, where formats keep what they say of themselves."""
    zone = random.random()
    if zone < 0.3:
        return random.randrange(min(size, 200))
    return size - 1 - random.randrange(min(size, 200)) if zone < 0.6 else random.randrange(size)


# --- texts -----------------------------------------------------------------------------------------------------------


def damaged_lines(text: str, random: Random, delimiter: str = ",") -> bytes:
    """Lines and fields that are missing, doubled, swapped, or hold something else; at times the bytes as well."""
    lines = text.split("\n")
    for _ in range(random.choice((1, 1, 2, 4))):
        lines = random.choice((_other_field, _other_field, _other_field, _line_twice, _line_gone, _column))(
            lines, random, delimiter
        )
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    how = random.random()
    if how < 0.1:
        return "\n".join(lines).encode(random.choice(("utf-16", "utf-32", "latin-1", "cp1252")), "replace")
    return damaged(data, random) if how < 0.3 else data


def _other_field(lines: list[str], random: Random, delimiter: str) -> list[str]:
    row = random.choice((0, random.randrange(len(lines))))
    fields = lines[row].split(delimiter)
    fields[random.randrange(len(fields))] = random.choice((*TEXTS, random.choice(fields)))
    return [*lines[:row], delimiter.join(fields), *lines[row + 1 :]]


def _line_twice(lines: list[str], random: Random, delimiter: str) -> list[str]:
    row = random.randrange(len(lines))
    return [*lines[:row], *[lines[row]] * random.choice((2, 2, 1000)), *lines[row + 1 :]]


def _line_gone(lines: list[str], random: Random, delimiter: str) -> list[str]:
    row = random.choice((0, random.randrange(len(lines))))
    return [*lines[:row], *([""] if random.random() < 0.5 else []), *lines[row + 1 :]]


def _column(lines: list[str], random: Random, delimiter: str) -> list[str]:
    """A column twice, gone, or one too many in all lines or in one."""
    at, change = random.randrange(lines[0].count(delimiter) + 1), random.randrange(4)
    found = []
    for number, line in enumerate(lines):
        fields = line.split(delimiter)
        if change == 0:
            fields[at:at] = fields[at : at + 1]
        elif change == 1:
            del fields[at : at + 1]
        elif change == 2:
            fields.append(random.choice(TEXTS))
        elif number == len(lines) // 2:
            fields *= 2
        found.append(delimiter.join(fields))
    return found


# --- JSON ------------------------------------------------------------------------------------------------------------


def odd_value(random: Random) -> Any:
    """Something that JSON can hold and nobody expects."""
    plain = (None, True, False, [], {}, [[]], [None], {"": None}, {"a": {"b": []}}, float("nan"), float("inf"), "1")
    return random.choice((*plain, [0] * 5000, random.choice(TEXTS), random.choice(NUMBERS), [random.choice(TEXTS)]))


def damaged_json(found: Any, random: Random) -> bytes:
    """A value at any depth replaced, removed or added; at times nesting, doubled keys, or the bytes."""
    for _ in range(random.choice((1, 1, 2))):
        found = _replaced(found, random)
    text = json.dumps(found)
    how = random.random()
    if how < 0.05:
        depth = random.choice((50, 2_000, 200_000))
        text = text.replace(":", f': {"[" * depth}{"]" * depth}, "x":', 1)
    elif how < 0.1 and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:-1] + ", " + text[1:]
    data = text.encode("utf-8", "surrogatepass")
    return damaged(data, random) if how > 0.85 else data


def _replaced(found: Any, random: Random) -> Any:
    if isinstance(found, dict) and found and random.random() < 0.85:
        key = random.choice(list(found))
        change = random.random()
        if change < 0.1:
            return {k: v for k, v in found.items() if k != key}
        if change < 0.15:
            return {**found, random.choice(TEXTS): odd_value(random)}
        return {**found, key: _replaced(found[key], random)}
    if isinstance(found, list) and found and random.random() < 0.6:
        at = random.randrange(len(found))
        return [*found[:at], _replaced(found[at], random), *found[at + 1 :]]
    return odd_value(random)
