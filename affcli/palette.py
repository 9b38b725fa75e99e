"""One colour a class, the same in plots, overlays and reports.

The eight are far apart to every kind of eye: at least 16 units of CIEDE2000 between any two, as they are and as
protanopes, deuteranopes and tritanopes see them (Machado et al. 2009), and their lightness alone, which is what is left
in grey, differs by at least 7 of the 100 steps of L*. A test computes it. Names stand beside the colours all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice, pairwise
from typing import Final

PALETTE: Final = {
    "Neutral": "#a5a7ab",
    "Anger": "#a1341c",
    "Disgust": "#6ea127",
    "Fear": "#5e2f69",
    "Happiness": "#fee379",
    "Sadness": "#4472cc",
    "Surprise": "#1bcdfe",
    "Other": "#2e2d2a",
}
# The same on a dark ground, where the dark ones of these would be lost: as far from each other, and each with a
# contrast of at least 3 to the page.
ON_DARK: Final = {
    "Neutral": "#b2b4b6",
    "Anger": "#c05453",
    "Disgust": "#6eb300",
    "Fear": "#874f93",
    "Happiness": "#ffe680",
    "Sadness": "#3a86fd",
    "Surprise": "#3ad8ff",
    "Other": "#fbfdff",
}
DARK_PAPER: Final = "#14181d"
INK: Final = "#1f2328"  # text and lines
MUTED: Final = "#656d76"  # text of less weight
RULE: Final = "#d0d7de"  # rules and ticks
EMPTY: Final = "#eef0f2"  # where a frame has no label
GAP: Final = "#8b949e"  # where there is no face, or no sound


def colours_of(classes: Sequence[str], *, dark: bool = False) -> tuple[str, ...]:
    """A colour `#rrggbb` for each class: the eight have their own, others what is left of the palette.

    Where that is used up, mixtures of neighbours in lightness follow: 15 classes get different colours, more repeat.
    `dark`: on a dark ground.
    """
    palette = {**PALETTE, **(ON_DARK if dark else {})}
    left = [colour for name, colour in palette.items() if name not in classes]
    further = iter([*left, *islice(cycle(_mixtures(palette)), len(classes))])
    return tuple(palette.get(name) or next(further) for name in classes)


def text_on(colour: str) -> str:
    """Black or white, whichever is read more easily on a colour `#rrggbb` (WCAG's contrast ratio)."""
    luminance = relative_luminance(colour)
    return "#ffffff" if (luminance + 0.05) ** 2 < 1.05 * 0.05 else "#000000"


def relative_luminance(colour: str) -> float:
    """0 for black to 1 for white (WCAG 2, from linear sRGB)."""
    red, green, blue = (_linear(channel / 255) for channel in channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def channels(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers from 0 to 255."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _mixtures(palette: Mapping[str, str]) -> list[str]:
    by_lightness = sorted(palette.values(), key=relative_luminance)
    pairs = pairwise(by_lightness)
    means = ([(a + b) // 2 for a, b in zip(channels(one), channels(other), strict=True)] for one, other in pairs)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in means]
