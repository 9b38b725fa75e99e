"""Pictures of predictions for print: a video's timeline, and the confusion matrix.

Rows carry the names of their classes, so that nothing rests on colours alone. Sizes are in millimetres on paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from affcli.errors import counted
from affcli.palette import EMPTY, GAP, INK, MUTED, RULE, colours_of, text_on
from affcli.schema import CLASSES
from affcli.scoring.metrics import Score
from affcli.views.segments import runs
from affcli.views.sheet import DPI, SMALL_PT, TOP_MM, Look, Sheet, width_mm
from affcli.views.timeline import Timeline, bands, gap_bands
from affcli.views.uncertainty import UNSURE

if TYPE_CHECKING:
    from affcli.views.timeline import Floats

USUAL: Final = Look()
_BOTTOM_MM: Final = 8.0
_ROW_MM, _BAND_MM, _GAP_MM, _SPACE_MM = 6.5, 6.0, 2.0, 2.0
_LEAST_ROW_MM, _LEAST_WIDTH_MM = 2.8, 60.0  # a name fits into a row
_STEPS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_TICKS: Final = 9
_TICK_MM: Final = 12.0  # from tick to tick at least


def columns_of(suffix: str, look: Look = USUAL) -> int:
    """How many columns a timeline has: its pixels, or, in drawings of lines, about what the eye resolves."""
    return max(int(look.plot_mm / 25.4 * DPI) if suffix == ".png" else int(look.plot_mm * 3.32), 50)


def timeline_picture(found: Timeline, suffix: str, look: Look = USUAL) -> bytes:
    """A PNG, SVG or PDF of one video: labels, the truth where it is known, gaps, and a row of probabilities a class.

    Raises UsageError where that is too much for the size.
    """
    band = [("label", found.label, found.classes)]
    band += [] if found.truth is None else [("truth", found.truth, CLASSES)]
    gaps = [
        (name, gap_bands(found.edge, s))
        for name, s in (("no face", found.face), ("no sound", found.audio))
        if s is not None
    ]
    gaps = [(name, stretches) for name, stretches in gaps if stretches]
    above_mm = len(band) * (_BAND_MM + 1) + len(gaps) * (_GAP_MM + 1.5) + _SPACE_MM
    beside_mm = above_mm + TOP_MM + _BOTTOM_MM
    count = len(found.classes)
    row_mm = look.row_mm(_ROW_MM, count, beside_mm, least_mm=_LEAST_ROW_MM, least_width_mm=_LEAST_WIDTH_MM)
    sheet = Sheet(look, above_mm + count * row_mm, bottom_mm=_BOTTOM_MM)
    length = f"{clock(found.length)}, " if found.timed else ""
    title = found.video if look.title is None else look.title
    sheet.head(title, f"{length}{counted(found.frames, 'frame')}", color=MUTED)
    top = 0.0
    for name, value, classes in band:
        _band(sheet, found, name, value, classes, top)
        top += _BAND_MM + 1
    for name, stretches in gaps:
        _gaps(sheet, name, stretches, top)
        top += _GAP_MM + 1.5
    for index, name in enumerate(found.classes):
        _probabilities(sheet, found, index, name, top + _SPACE_MM + index * row_mm, row_mm)
    _time_axis(sheet, found)
    return sheet.encoded(suffix)


def _band(sheet: Sheet, found: Timeline, name: str, value: np.ndarray, classes: Sequence[str], top_mm: float) -> None:
    """A row of blocks in the colours of labels, their names in those that are wide enough."""
    sheet.name(top_mm + _BAND_MM / 2, name)
    flat: dict[str, Any] = {"linewidth": 0, "antialiased": False}
    sheet.axes.broken_barh([(found.edge[0], found.length)], (top_mm, _BAND_MM), facecolor=EMPTY, **flat)
    blocks = bands(found.edge, value)
    for start, end, _ in bands(found.edge, found.unsure.astype(np.int64) - 1) if name == "label" else ():
        if (end - start) / found.length * sheet.plot_mm >= width_mm(UNSURE, SMALL_PT) + 2:
            middle = ((start + end) / 2, top_mm + _BAND_MM / 2)
            sheet.text(*middle, UNSURE, ha="center", fontsize=SMALL_PT, color=MUTED)
    for index, colour in enumerate(colours_of(classes)):
        own = [(start, end - start) for start, end, label in blocks if label == index]
        sheet.axes.broken_barh(own, (top_mm, _BAND_MM), facecolor=colour, **flat)
        for start, width in own:
            if width / found.length * sheet.plot_mm >= width_mm(classes[index], SMALL_PT) + 2:
                middle = (start + width / 2, top_mm + _BAND_MM / 2)
                sheet.text(*middle, classes[index], ha="center", fontsize=SMALL_PT, color=text_on(colour))


def _gaps(sheet: Sheet, name: str, stretches: list[tuple[float, float]], top_mm: float) -> None:
    sheet.name(top_mm + _GAP_MM / 2, name, fontsize=SMALL_PT, color=MUTED)
    sheet.axes.axhline(top_mm + _GAP_MM / 2, color=RULE, linewidth=0.5, zorder=0)
    widths = [(start, end - start) for start, end in stretches]
    sheet.axes.broken_barh(widths, (top_mm, _GAP_MM), facecolor=GAP, linewidth=0, antialiased=False)


def _probabilities(sheet: Sheet, found: Timeline, index: int, name: str, top_mm: float, row_mm: float) -> None:
    """The mean of each column filled, its largest value as a lighter shade behind it."""
    colour = colours_of(found.classes)[index]
    ground, height = top_mm + row_mm - 0.3, row_mm - min(1.3, 0.2 * row_mm)
    sheet.axes.axhline(ground, color=RULE, linewidth=0.5, zorder=0)
    if not np.array_equal(found.peak[index], found.mean[index], equal_nan=True):
        for x, y in areas(found.edge, found.peak[index]):
            sheet.axes.fill(x, ground - height * y, facecolor=colour, alpha=0.35, linewidth=0)
    for x, y in areas(found.edge, found.mean[index]):
        sheet.axes.fill(x, ground - height * y, facecolor=colour, linewidth=0)
        sheet.axes.plot(x[1:-1], ground - height * y[1:-1], color=INK, linewidth=0.35, alpha=0.7)
    sheet.name(ground - height / 2, name)
    if index == 0:
        for value in (0, 1):
            place = (1 + 1 / sheet.plot_mm, ground - height * value)
            how: dict[str, Any] = {"transform": sheet.axes.get_yaxis_transform(), "fontsize": 5.5, "color": MUTED}
            sheet.text(*place, str(value), **how)


def areas(edge: Floats, value: Floats) -> Iterator[tuple[Floats, Floats]]:
    """The areas under a curve, one for each stretch where it is known: x and y of their corners, from ground to ground.

    A curve goes through the middles of its columns: one point each.
    """
    known = runs((~np.isnan(value)).astype(np.int64))
    middle = (edge[:-1] + edge[1:]) / 2
    for first, last, there in zip(known.first, known.last, known.label, strict=True):
        if there:
            ends = ([edge[first]], middle[first : last + 1], [edge[last + 1]])
            own = value[first : last + 1]
            x = np.concatenate([[edge[first]], *ends, [edge[last + 1]]])
            yield x, np.concatenate([[0, own[0]], own, [own[-1], 0]])


def _time_axis(sheet: Sheet, found: Timeline) -> None:
    sheet.axes.set_xlim(found.edge[0], max(found.edge[-1], found.edge[0] + 1e-3))
    sheet.axes.tick_params(axis="x", colors=MUTED, labelsize=SMALL_PT, length=2.5, width=0.5)
    if found.timed:
        ticks = ticks_s(float(found.edge[0]), float(found.edge[-1]), _most_ticks(sheet))
        sheet.axes.set_xticks(ticks, [clock(tick) for tick in ticks])
    else:
        sheet.axes.locator_params(axis="x", nbins=_most_ticks(sheet), integer=True)
        sheet.axes.set_xlabel("frame", fontsize=SMALL_PT, color=MUTED, labelpad=1)


def _most_ticks(sheet: Sheet) -> int:
    return min(max(int(sheet.plot_mm / _TICK_MM), 2), _MOST_TICKS)


def ticks_s(start_s: float, end_s: float, most: int = _MOST_TICKS) -> list[float]:
    """Round times from `start_s` to `end_s`, `most` steps of them at most."""
    step = next((s for s in _STEPS_S if (end_s - start_s) / s <= most), _STEPS_S[-1])
    return [round(k * step, 3) for k in range(int(np.ceil(start_s / step)), int(end_s / step + 1e-6) + 1)]


def clock(time_s: float) -> str:
    """`0:02.5`, `1:05`, `2:00:00`: minutes and seconds, hours before and tenths behind them where there are any."""
    tenths = round(time_s * 10)
    minutes, rest = divmod(tenths, 600)
    seconds = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{minutes // 60}:{minutes % 60:02}:{seconds}" if minutes >= 60 else f"{minutes}:{seconds}"


# --- confusion -------------------------------------------------------------------------------------------------------

_CELL_MM: Final = 9.5  # its height; of the width, a cell has a share
_CELL_SHARE: Final = 0.111  # of eight, and of what stands right of them
_HEAD_MM: Final = 10.0
_LEAST_CELL_MM, _LEAST_MATRIX_MM = 4.0, 140.0


def confusion_picture(score: Score, title: str, suffix: str, look: Look = USUAL) -> bytes:
    """A PNG, SVG or PDF of the confusion matrix: shares of each row (the truth) in percent, darker for more.

    Raises UsageError where that is too much for the size.
    """
    size, bottom_mm = len(CLASSES), 3.0
    beside_mm = _HEAD_MM + TOP_MM + bottom_mm
    cell_mm = look.row_mm(_CELL_MM, size, beside_mm, least_mm=_LEAST_CELL_MM, least_width_mm=_LEAST_MATRIX_MM)
    sheet = Sheet(look, size * cell_mm + _HEAD_MM, bottom_mm=bottom_mm)
    sheet.axes.set_xlim(0, 1)
    total = score.confusion.sum(axis=1)
    shares = score.confusion / np.maximum(total, 1)[:, None]
    for column, name in enumerate(CLASSES):
        sheet.text((column + 0.5) * _CELL_SHARE, _HEAD_MM - 3, name, ha="center", fontsize=SMALL_PT)
    sheet.text(1, _HEAD_MM - 3, "frames", ha="right", fontsize=SMALL_PT, color=MUTED)
    figures = f"macro F1 {score.macro_f1:.3f}, accuracy {score.accuracy:.3f}, {counted(score.frames, 'frame')}"
    sheet.head(title if look.title is None else look.title, figures, color=MUTED)
    sheet.text(0, 1, "prediction, in % of the row; rows are the truth", fontsize=SMALL_PT, color=MUTED)
    for row in range(size):
        _confusion_row(sheet, row, shares[row], int(total[row]), cell_mm)
    sheet.axes.set_xticks([])
    return sheet.encoded(suffix)


def _confusion_row(sheet: Sheet, row: int, shares: np.ndarray, total: int, height_mm: float) -> None:
    top = _HEAD_MM + row * height_mm
    sheet.name(top + height_mm / 2, CLASSES[row])
    for column, share in enumerate(shares):
        colour = _shade(float(share))
        cell: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "linewidth": 1}
        sheet.axes.broken_barh([(column * _CELL_SHARE, _CELL_SHARE)], (top, height_mm), **cell)
        weight = "bold" if row == column and share else "normal"
        middle = ((column + 0.5) * _CELL_SHARE, top + height_mm / 2)
        said = f"{100 * share:.1f}" if share else ("0" if total else "–")
        sheet.text(*middle, said, ha="center", color=text_on(colour) if share else MUTED, fontweight=weight)
    sheet.text(1, top + height_mm / 2, f"{total:,}", ha="right", fontsize=SMALL_PT, color=MUTED)


def _shade(share: float) -> str:
    """One hue from nearly white to dark, so that it reads in grey and to every eye."""
    light, dark = np.array([244, 246, 248]), np.array([24, 64, 110])
    red, green, blue = np.rint(light + (dark - light) * min(share, 1) ** 0.8).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
