"""A contact sheet: many small pictures on one, each with a word below it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from affcli.files import outputs

_CELL: Final = 112  # pixels
_MARGIN, _WORDS = 6, 14
_GROUND: Final = "#202020"


def write_sheet(path: Path, pixels: NDArray[np.uint8], names: Sequence[str], *, columns: int = 10) -> None:
    """Writes a PNG of pictures [n, S, S, 3] RGB with their names, row by row; it appears only when it is complete."""
    buffer = io.BytesIO()
    contact_sheet(pixels, names, columns=columns).save(buffer, "PNG")
    outputs.write_bytes(path, buffer.getvalue())


def contact_sheet(pixels: NDArray[np.uint8], names: Sequence[str], *, columns: int = 10) -> Image.Image:
    """The sheet itself; small pictures are enlarged so that their pixels can be seen."""
    columns = max(1, min(columns, len(names)))
    width, height = _CELL + _MARGIN, _CELL + _WORDS + _MARGIN
    rows = math.ceil(len(names) / columns)
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), _GROUND)
    draw = ImageDraw.Draw(sheet)
    for index, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        left, top = _MARGIN + index % columns * width, _MARGIN + index // columns * height
        sheet.paste(Image.fromarray(picture).resize((_CELL, _CELL), Image.Resampling.NEAREST), (left, top))
        draw.text((left, top + _CELL + 1), name, fill="white")
    return sheet
