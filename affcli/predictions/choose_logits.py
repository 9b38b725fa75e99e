"""Chooses the columns that hold a table's logits: those named by words for the eight classes, else all that can be.

What cannot be told is an error that shows the groups of columns which could be meant, each with its option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from affcli.class_words import class_of, counted_as_other
from affcli.errors import AffcliError, AmbiguousColumnsError, ColumnError, listed
from affcli.schema import BOX_COLUMNS

# A model of more classes than this is not one of expressions.
MOST_COLUMNS: Final = 32
FEWEST_CLASSES: Final = 2

# Floating-point columns that other tools write beside their logits, and that are never taken for logits unnamed.
_NEVER: Final = re.compile(
    r"""^(
      label | score | confidence | conf | success | quality | speech | valence | arousal | dominance | engagement | loss
    | (.*_)?(time|time_s|time_ms|timestamp|seconds|duration|fps|pts)(_.*)? | (start|end)_s
    | pitch | roll | yaw | (face)?_?(score|confidence|width|height) | face_?score
    | (b?box|bbox|face_?rect|rect|region)([_.\d].*|[xywh]|width|height)? | facerect.*
    | au_?\d.* | action_?unit.* | (pose|gaze|eye_lmk|lmk|landmark|lm|kp|keypoint)s?([_.\d].*)?
    | [xyz]_\d+ | unnamed.*
    )$""",
    re.VERBOSE | re.IGNORECASE,
)
# Corners and sides of a box; only where several stand together.
_SIDES: Final = frozenset(
    (
        *("x", "y", "w", "h", "x1", "y1", "x2", "y2", "left", "top", "right", "bottom"),
        *("width", "height", "xmin", "ymin", "xmax", "ymax"),
    )
)
# Columns of our own tables; nobody needs to hear that they are no logits.
_OURS: Final = frozenset(
    ("time_s", "face", "audio", "window", "votes", "score", "confidence", *BOX_COLUMNS, "start_s", "end_s", "label")
)


@dataclass(frozen=True)
class Chosen:
    """The columns of numbers, in order, the class of each, and what the user should hear of the choice."""

    columns: tuple[str, ...] = ()
    class_of: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_number(kind: pa.DataType) -> bool:
    """Numbers, and columns that hold nothing but nulls."""
    types = pa.types
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind) or types.is_null(kind))


def numeric(name: str, types: Mapping[str, pa.DataType], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns; raises ColumnError for one that does not hold numbers."""
    for column in columns:
        if not is_number(types[column]):
            held = "text" if pa.types.is_string(types[column]) else types[column]
            raise ColumnError(f"{name}: column '{column}' holds {held}, not numbers.")
    return tuple(columns)


def classes_of(columns: Sequence[str], renamed: Mapping[str, str]) -> tuple[str, ...]:
    """The class of each column: what --map says, else, where all the others are words for different ones of the eight
    classes, the class that is meant, else the column's name.
    """
    meant = [class_of(column) for column in columns if column not in renamed]
    if None in meant or len(set(meant)) < len(meant):
        return tuple(renamed.get(column, column) for column in columns)
    return tuple(renamed.get(column) or class_of(column) or column for column in columns)


def by_words(name: str, types: Mapping[str, pa.DataType], renamed: Mapping[str, str]) -> Chosen | None:
    """The columns that are named by words for the eight classes, or None where there are none.

    Bare words (`happy`) come before words with something around them (`prob_happy`, `emotion.happy`). Raises
    AmbiguousColumnsError where two groups of the latter could be meant, or two columns of one class.
    """
    held = [column for column, kind in types.items() if not (pa.types.is_boolean(kind) or pa.types.is_nested(kind))]
    bare = _of_words(held, renamed)
    if bare is not None:
        chosen = _one_a_class(name, bare, renamed)
        return _with_notes(types, chosen, {column: class_of(column) for column in chosen}, renamed)
    groups = [group for group in _affixed(held, types).values() if len(group) > FEWEST_CLASSES]
    if len(groups) > 1:
        raise _ambiguous(name, [list(group.values()) for group in groups], "several groups of columns name the classes")
    if not groups:
        return None
    means: dict[str, str | None] = {column: one for one, column in groups[0].items()}
    return _with_notes(types, [*means, *(c for c in renamed if c in types and c not in means)], means, renamed)


def by_guess(name: str, types: Mapping[str, pa.DataType], renamed: Mapping[str, str], *, doubtful: bool) -> Chosen:
    """All floating-point columns that can be logits, where no doubt is left; empty where there are fewer than two.

    Raises AmbiguousColumnsError for more than 32, or for several groups; where `doubtful` columns are no error, since
    the table has labels that the user named, nothing is chosen instead.
    """
    sides = _SIDES & {column.lower() for column in types}
    floats = [
        column
        for column, kind in types.items()
        if pa.types.is_floating(kind) and not _NEVER.match(column) and not (len(sides) > 2 and column.lower() in sides)
    ]
    groups = _groups(floats)
    if len(floats) > MOST_COLUMNS or len(groups) > 1:
        if doubtful:
            return Chosen()
        found = f"{len(floats):,} columns of numbers could be the logits"
        raise _ambiguous(name, groups, found)
    columns = [column for column in types if column in {*floats, *renamed}]
    if len(columns) < FEWEST_CLASSES:
        return Chosen()
    taken = numeric(name, types, columns)
    note = f"logits taken from the columns {listed(taken, limit=MOST_COLUMNS)}"
    return Chosen(taken, tuple(renamed.get(column, column) for column in taken), (note,))


# --- by words --------------------------------------------------------------------------------------------------------


def _of_words(columns: Sequence[str], renamed: Mapping[str, str]) -> dict[str, list[str]] | None:
    """Class → the columns that are named by a word for it or renamed to it; None where too few classes are named."""
    found: dict[str, list[str]] = {}
    for column in columns:
        one = class_of(renamed[column]) or renamed[column] if column in renamed else class_of(column)
        if one is not None:
            found.setdefault(one, []).append(column)
    return found if len([one for one in found if class_of(one)]) >= FEWEST_CLASSES else None


def _one_a_class(name: str, found: Mapping[str, Sequence[str]], renamed: Mapping[str, str]) -> list[str]:
    """One column for each class, or those that --map brings together; contempt joins Other."""
    chosen = []
    for one, columns in found.items():
        mapped = [column for column in columns if column in renamed]
        others = [column for column in columns if column not in renamed]
        extra = counted_as_other(others)
        plain = [column for column in others if column not in extra]
        exact = [column for column in plain if column == one]
        if len(exact or plain) > 1:
            pairs = " ".join(f"--map {column}={one}" for column in plain)
            raise AmbiguousColumnsError(
                f"{name}: the columns {listed(plain)} all mean {one}. "
                f"Name one in --classes, or take the largest with {pairs}."
            )
        chosen += [*mapped, *(exact or plain), *extra]
    return chosen


def _with_notes(
    types: Mapping[str, pa.DataType],
    columns: Sequence[str],
    means: Mapping[str, str | None],
    renamed: Mapping[str, str],
) -> Chosen:
    ordered = [column for column in types if column in columns]
    classes = tuple(renamed.get(column) or means.get(column) or column for column in ordered)
    pairs = list(zip(ordered, classes, strict=True))
    other = [column for column in ordered if column not in renamed and counted_as_other(_tokens(column))]
    said = {*renamed, *other}
    spelt = [f"{column} = {one}" for column, one in pairs if column.lower() != one.lower() and column not in said]
    left = [
        column for column, kind in types.items() if is_number(kind) and column not in ordered and column not in _OURS
    ]
    notes = []
    if spelt:
        notes.append(f"classes by their columns' names: {listed(spelt, limit=12)}")
    if other:
        notes.append(f"{listed(other)} counts as Other, since it is none of the eight classes")
    if left:
        notes.append(f"only columns named by classes are read; other columns of numbers are left out: {listed(left)}")
    return Chosen(tuple(ordered), classes, tuple(notes))


def _tokens(column: str) -> list[str]:
    return [token for token in re.split(r"[^a-z0-9]+", column.lower()) if token]


def _affixed(columns: Sequence[str], types: Mapping[str, pa.DataType]) -> dict[tuple[str, ...], dict[str, str]]:
    """What stands around the word → class → column, of columns of numbers with exactly one word in their name."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for column in columns:
        tokens = _tokens(column)
        words = [token for token in tokens if class_of(token)]
        if is_number(types[column]) and len(words) == 1 and len(tokens) > 1:
            around = tuple("*" if token == words[0] else token for token in tokens)
            groups.setdefault(around, {}).setdefault(class_of(words[0]) or "", column)
    return groups


# --- candidates ------------------------------------------------------------------------------------------------------


def _groups(columns: Sequence[str]) -> list[list[str]]:
    """Columns whose names differ in a number only (`logit_0`, `logit_1`, …) are a group; all others are one more."""
    numbered: dict[str, list[str]] = {}
    for column in columns:
        numbered.setdefault(re.sub(r"\d+", "#", column), []).append(column)
    groups = [group for key, group in numbered.items() if "#" in key and len(group) > 1]
    rest = [column for column in columns if not any(column in group for group in groups)]
    return [*groups, rest] if rest else groups


def _ambiguous(name: str, groups: Sequence[Sequence[str]], found: str) -> AffcliError:
    shown = [_candidate(group) for group in groups[:4]]
    more = f"; and {len(groups) - 4} more groups" if len(groups) > 4 else ""
    return AmbiguousColumnsError(
        f"{name}: {found}. Choose with --classes (or --logits for a list column): {'; '.join(shown)}{more}."
    )


def _candidate(group: Sequence[str]) -> str:
    if len(group) <= MOST_COLUMNS:
        return f"--classes {','.join(group)}"
    return f"--classes {group[0]},{group[1]},…,{group[-1]} ({len(group):,} columns)"
