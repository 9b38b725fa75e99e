"""Draws what was found into the frames themselves: a box round the face, its label, a bar for each class.

Only the few pixels that change are touched, in place; texts are drawn once and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.palette import GAP, INK, MUTED, channels, colours_of, text_on

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]

_TEXT_SHARE: Final = 1 / 30  # of the frame's shorter side, at least _SMALLEST pixels
_SMALLEST, _LARGEST = 11, 40
_PAPER: Final = 0.82  # how white the panel is; the picture shines through
_BAR_LETTERS: Final = 5.0  # a bar's full length, in heights of the text
_MOST_WIDTH, _MOST_HEIGHT = 0.5, 0.62  # of the frame, that panels may take


@dataclass(frozen=True, eq=False)
class Found:
    """What is known of one person in one frame. `label` is an index into the classes, -1 for none.

    `probability` float64 [C]; `box` x, y, width, height in pixels of the frame; `face` whether one was found; each None
    where nothing tells. `name` is written before the label where there are several people.
    """

    name: str
    label: int
    probability: NDArray[np.float64] | None
    box: tuple[float, float, float, float] | None
    face: bool | None


class Painter:
    """Draws into frames of one size, uint8 [height, width, 3]."""

    def __init__(self, classes: Sequence[str], size: tuple[int, int]) -> None:
        self._classes = classes
        self._colours = [channels(colour) for colour in colours_of(classes)]
        self._inks = [channels(text_on(colour)) for colour in colours_of(classes)]
        height, width = size
        self._text_px = int(np.clip(round(min(height, width) * _TEXT_SHARE), _SMALLEST, _LARGEST))
        self._pad = max(2, self._text_px // 4)
        self._row_px = self._text_px + self._pad
        self._rows = min(len(classes), max(1, int(height * _MOST_HEIGHT - 2 * self._pad) // self._row_px))

    def paint(self, pixels: Pixels, people: Sequence[Found]) -> None:
        """Draws all of them: at the top, where no player has its controls, panels from the left as far as half of the
        width goes, but always the first; and at the right the labels of those who have no box.
        """
        left, top = self._pad, self._pad
        for person in people:
            width = self._panel_width
            if person.probability is not None and (left == self._pad or left + width <= pixels.shape[1] * _MOST_WIDTH):
                self._paint_panel(pixels, person, left)
                left += width + self._pad
        for person in people:  # last, so that nothing lies over a label
            if person.box is None:
                self._paint_label(pixels, person, pixels.shape[1], top)
                top += self._tab_height + self._pad
            else:
                self._paint_face(pixels, person, person.box)

    # --- the face ----------------------------------------------------------------------------------------------------

    @property
    def _tab_height(self) -> int:
        return self._text_px + 2 * self._pad

    def _paint_face(self, pixels: Pixels, person: Found, box: tuple[float, float, float, float]) -> None:
        colour, ink = self._colours_for(person)
        x, y, width, height = (round(side) for side in box)
        line = max(2, self._text_px // 5)
        # A thin rim of the other brightness on both sides: the box is seen on any ground.
        rim = max(1, line // 3)
        _frame(pixels, x - rim, y - rim, width + 2 * rim, height + 2 * rim, line + 2 * rim, ink)
        _frame(pixels, x, y, width, height, line, colour)
        above = y - self._tab_height
        self._paint_label(pixels, person, x - rim, above if above >= 0 else y + line)

    def _paint_label(self, pixels: Pixels, person: Found, x: int, y: int) -> None:
        """Its text on its colour, moved into the frame where it would stand out."""
        colour, ink = self._colours_for(person)
        text = _text_mask(self._said(person), self._text_px)
        width, height = text.shape[1] + 2 * self._pad, self._tab_height
        x = int(np.clip(x, 0, max(0, pixels.shape[1] - width)))
        y = int(np.clip(y, 0, max(0, pixels.shape[0] - height)))
        _fill(pixels, x, y, width, height, colour)
        _blend(pixels, text, x + self._pad, y + self._pad, ink)

    def _colours_for(self, person: Found) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Of a label, and of the text on it."""
        if person.label < 0:
            return channels(GAP), channels("#000000")
        return self._colours[person.label], self._inks[person.label]

    def _said(self, person: Found) -> str:
        said = [person.name] if person.name else []
        if person.face is False:
            said.append("no face:")
        if person.label < 0:
            known = person.probability is not None and not np.isnan(person.probability).all()
            return " ".join([*said, "unsure" if known else "no label"])
        said.append(self._classes[person.label])
        if person.probability is not None and not np.isnan(person.probability[person.label]):
            said.append(f"{100 * person.probability[person.label]:.0f} %")
        return " ".join(said)

    # --- the bars ----------------------------------------------------------------------------------------------------

    @property
    def _panel_width(self) -> int:
        return self._names_px + round(_BAR_LETTERS * self._text_px) + 3 * self._pad

    @property
    def _names_px(self) -> int:
        return max(int(_text_mask(name, self._text_px).shape[1]) for name in self._classes)

    def _paint_panel(self, pixels: Pixels, person: Found, left: int) -> None:
        """The classes in their order; where the frame is too low for all, the most probable."""
        assert person.probability is not None
        probability = np.nan_to_num(person.probability)
        shown = np.sort(np.argsort(-probability, kind="stable")[: self._rows])
        head = self._row_px if person.name else 0
        height, top = head + self._rows * self._row_px + self._pad, self._pad
        panel = pixels[top : top + height, left : left + self._panel_width]
        panel[:] = (panel * (1 - _PAPER) + 255 * _PAPER).astype(np.uint8)
        if head:
            _blend(pixels, _text_mask(person.name, self._text_px), left + self._pad, top + self._pad, channels(INK))
        for row, index in enumerate(shown.tolist()):
            y = top + head + self._pad + row * self._row_px
            self._paint_bar(pixels, index, float(probability[index]), left, y, person)

    def _paint_bar(self, pixels: Pixels, index: int, probability: float, left: int, y: int, person: Found) -> None:
        text = _text_mask(self._classes[index], self._text_px)
        own = index == person.label
        _blend(pixels, text, left + self._pad + self._names_px - text.shape[1], y, channels(INK if own else MUTED))
        full = round(_BAR_LETTERS * self._text_px)
        x, width = left + 2 * self._pad + self._names_px, round(full * probability)
        height = self._text_px - 2
        if width > 1:
            _fill(pixels, x, y + 1, width, height, channels(INK))
            _fill(pixels, x, y + 2, width - 1, height - 2, self._colours[index])
        _fill(pixels, x - 1, y - self._pad // 2, 1, self._row_px, channels(MUTED))


@lru_cache(maxsize=4096)
def _text_mask(text: str, height_px: int) -> Mask:
    """How much of each pixel a line of text covers: float32 [height, width], 0 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    line = " ".join(text.split())[:60]
    font = ImageFont.load_default(size=height_px * 0.92)
    width = max(1, round(font.getlength(line)))
    image = Image.new("L", (width, height_px))
    # By the baseline, so that all texts of a size stand level.
    ImageDraw.Draw(image).text((0, height_px * 0.78), line, fill=255, font=font, anchor="ls")
    mask: Mask = np.asarray(image, np.float32) / np.float32(255)
    return mask


def _fill(pixels: Pixels, x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
    pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = colour


def _frame(pixels: Pixels, x: int, y: int, width: int, height: int, line: int, colour: tuple[int, int, int]) -> None:
    """The outline of a rectangle, its lines inside it."""
    line = min(line, width, height)
    for part in (
        (x, y, width, line),
        (x, y + height - line, width, line),
        (x, y, line, height),
        (x + width - line, y, line, height),
    ):
        _fill(pixels, *part, colour)


def _blend(pixels: Pixels, mask: Mask, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Text in a colour, cut off at the frame's edges."""
    top, left = max(-y, 0), max(-x, 0)
    part = pixels[max(y, 0) : max(y + mask.shape[0], 0), max(x, 0) : max(x + mask.shape[1], 0)]
    cover = mask[top : top + part.shape[0], left : left + part.shape[1], None]
    part[:] = (part * (1 - cover) + np.array(colour, np.float32) * cover + 0.5).astype(np.uint8)
