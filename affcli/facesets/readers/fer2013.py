"""FER2013 (Goodfellow et al., 2013) with its own labels, as the text of Kaggle's challenge."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from affcli.errors import FaceSetError
from affcli.facesets.listing import HELD_OUT, TEST, TRAIN, Origin, Shelf
from affcli.facesets.readers import searching
from affcli.facesets.readers.pixel_text import pixel_rows
from affcli.schema import CLASSES

_TEXTS: Final = ("fer2013.csv", "icml_face_data.csv", "train.csv")
# Emotions 0 to 6, from the challenge's page.
_ORDER: Final = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")
_CLASS_OF: Final = {str(number): CLASSES.index(name) for number, name in enumerate(_ORDER)}
_PARTS: Final = {"training": TRAIN, "publictest": HELD_OUT, "privatetest": TEST, "": TRAIN}


def read(place: Path, name: str) -> Shelf:
    """The pictures of `fer2013.csv`, `icml_face_data.csv` or `train.csv`, the file itself or a folder that holds it.

    Raises FaceSetError where none is there, and for an emotion that is no number from 0 to 6.
    """
    text = place if place.is_file() else searching.find_file(place, _TEXTS)
    if text is None:
        raise searching.not_found("fer2013", place, " or ".join(_TEXTS))
    shelf = Shelf(name)
    for number, row in enumerate(pixel_rows(text), start=2):
        if row.emotion not in _CLASS_OF or row.usage not in _PARTS:
            found = f"emotion '{row.emotion}', usage '{row.usage}'"
            raise FaceSetError(f"{text}, row {number}: {found}; expected 0 to 6 and Training, PublicTest, PrivateTest.")
        shelf.add(_PARTS[row.usage], Origin(str(text), span=row.span), _CLASS_OF[row.emotion])
    return shelf
