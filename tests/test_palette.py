"""The palette, seen by every kind of eye, computed: colour science from its own sources, nothing of affcli's."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from affcli.palette import DARK_PAPER, ON_DARK, PALETTE, colours_of, relative_luminance, text_on
from affcli.schema import CLASSES

# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB.
EYES = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colours: list[str], eye: str = "usual") -> np.ndarray:
    srgb = np.array([list(bytes.fromhex(colour[1:])) for colour in colours]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(EYES[eye]).T, 0, 1) @ TO_XYZ.T / TO_XYZ.sum(1)
    f = np.where(seen > 216 / 24389, np.cbrt(seen), (24389 / 27 * seen + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """Sharma, Wu, Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean_chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    mean_h = (h1 + h2) / 2 if abs(h1 - h2) <= 180 else ((h1 + h2 + 360) / 2) % 360
    waves = ((0.17, 1, 30, -1), (0.24, 2, 0, 1), (0.32, 3, -6, 1), (0.20, 4, 63, -1))
    t = 1 + sum(sign * k * np.cos(np.radians(n * mean_h - shift)) for k, n, shift, sign in waves)
    sl = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    dc, dh = (c2 - c1) / (1 + 0.045 * mean_c), 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    dh /= 1 + 0.015 * mean_c * t
    bend = (
        2
        * np.sqrt(mean_c**7 / (mean_c**7 + 25**7))
        * np.sin(2 * np.radians(30 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    )
    return float(np.sqrt(((l2 - l1) / sl) ** 2 + dc**2 + dh**2 - bend * dc * dh))


def test_ciede2000_gives_the_published_figures() -> None:
    # Pairs 1, 17 and 25 of the paper's table 1.
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ]
    for one, other, difference in pairs:
        assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("eye", EYES)
def test_any_two_classes_are_far_apart_to_every_eye(eye: str, dark: bool) -> None:
    seen = dict(zip(CLASSES, lab(list(colours_of(CLASSES, dark=dark)), eye), strict=True))
    nearest = min((ciede2000(seen[a], seen[b]), a, b) for a, b in combinations(CLASSES, 2))
    assert nearest[0] >= 16, nearest


@pytest.mark.parametrize("dark", [False, True])
def test_in_grey_lightness_alone_tells_the_classes_apart(dark: bool) -> None:
    lightness = np.sort(lab(list(colours_of(CLASSES, dark=dark)))[:, 0])
    assert np.diff(lightness).min() >= 7


def test_on_dark_paper_every_class_stands_out() -> None:
    paper = relative_luminance(DARK_PAPER) + 0.05
    assert ON_DARK.keys() == PALETTE.keys()
    assert min((relative_luminance(colour) + 0.05) / paper for colour in ON_DARK.values()) >= 3


def test_foreign_classes_take_what_the_known_ones_leave() -> None:
    alphabetical = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
    found = dict(zip(alphabetical, colours_of(alphabetical), strict=True))
    assert found["Contempt"] == PALETTE["Other"]
    assert {name: found[name] for name in found if name in PALETTE} == {
        name: PALETTE[name] for name in alphabetical if name in PALETTE
    }


@pytest.mark.parametrize("count", [1, 2, 8, 9, 15])
def test_up_to_fifteen_foreign_classes_get_different_colours(count: int) -> None:
    assert len(set(colours_of([f"class {i}" for i in range(count)]))) == count
    assert len(colours_of([f"class {i}" for i in range(40)])) == 40


def test_text_on_a_colour_can_be_read() -> None:
    for colour in PALETTE.values():
        light, dark = sorted((relative_luminance(colour), relative_luminance(text_on(colour))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour
