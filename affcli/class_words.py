"""The words that tables, model heads and face sets use for the eight classes: the one place where they are listed.

Words are compared without regard to case and surrounding blanks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from affcli.schema import CLASSES

_SPELLINGS: Final[Mapping[str, Sequence[str]]] = {
    "Neutral": ("neutrality", "neu"),
    "Anger": ("angry", "ang"),
    "Disgust": ("disgusted",),
    "Fear": ("fearful", "afraid", "scared", "fea"),
    "Happiness": ("happy", "joy", "joyful", "hap"),
    "Sadness": ("sad",),
    "Surprise": ("surprised", "suprise", "sur"),
    "Other": ("others", "contempt", "contemptuous", "oth"),
}

# Counted as Other, because none of the eight classes is their own; whoever uses them says so in a note.
COUNTED_AS_OTHER: Final = frozenset({"contempt", "contemptuous"})

# Word, in lower case → class name.
CLASS_OF_WORD: Final[Mapping[str, str]] = {
    word: name for name, others in _SPELLINGS.items() for word in (name.lower(), *others)
}


def class_of(word: str) -> str | None:
    """The class that a word means (`happy`, `Joy` and `happiness` are all `Happiness`), or None."""
    return CLASS_OF_WORD.get(word.strip().lower())


def number_of(word: str) -> int | None:
    """The number of the class that a word means, an index into `schema.CLASSES`, or None."""
    name = class_of(word)
    return None if name is None else CLASSES.index(name)


def counted_as_other(words: Sequence[str]) -> list[str]:
    """Those of the words that have no class of their own among the eight and count as Other, such as `contempt`."""
    return [word for word in words if word.strip().lower() in COUNTED_AS_OTHER]
