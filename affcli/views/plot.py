"""Pictures of predictions for print: a video's timeline, and the confusion matrix. The only importer of matplotlib.

Rows carry the names of their classes, so that nothing rests on colours alone. Sizes are in millimetres on paper.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from affcli.errors import AffcliError, counted
from affcli.palette import EMPTY, GAP, INK, MUTED, RULE, colours_of, text_on
from affcli.schema import CLASSES
from affcli.scoring.metrics import Score
from affcli.views.plain_text import plain_text
from affcli.views.segments import runs
from affcli.views.timeline import Timeline, bands, gap_bands
from affcli.views.uncertainty import UNSURE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from affcli.views.timeline import Floats

SUFFIXES: Final = (".png", ".svg")
WIDTH_MM: Final = 180  # a page's text
DPI: Final = 200
_LEFT_MM, _RIGHT_MM, _TOP_MM, _BOTTOM_MM = 23.0, 6.0, 9.0, 8.0
_PLOT_MM: Final = WIDTH_MM - _LEFT_MM - _RIGHT_MM
COLUMNS: Final = {".png": int(_PLOT_MM / 25.4 * DPI), ".svg": 500}  # of a timeline: its pixels; what the eye resolves
_MM: Final = 1 / 25.4  # inches
_ROW_MM, _BAND_MM, _GAP_MM, _SPACE_MM = 6.5, 6.0, 2.0, 2.0
_LETTER_MM: Final = 1.55  # of the text in bands, about
_TEXT_PT, _SMALL_PT = 8.0, 7.0
_STEPS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_TICKS: Final = 9
_SETTINGS: Final[dict[Any, Any]] = {"svg.fonttype": "none", "svg.hashsalt": "affcli", "font.family": ["DejaVu Sans"]}


def timeline_picture(found: Timeline, suffix: str) -> bytes:
    """A PNG or SVG of one video: labels, the truth where it is known, gaps, and a row of probabilities a class."""
    rows_mm = len(found.classes) * _ROW_MM
    band = [("label", found.label, found.classes)]
    band += [] if found.truth is None else [("truth", found.truth, CLASSES)]
    gaps = [
        (name, gap_bands(found.edge, s))
        for name, s in (("no face", found.face), ("no sound", found.audio))
        if s is not None
    ]
    gaps = [(name, stretches) for name, stretches in gaps if stretches]
    height_mm = len(band) * (_BAND_MM + 1) + len(gaps) * (_GAP_MM + 1.5) + _SPACE_MM + rows_mm
    figure, axes = _sheet(height_mm)
    _titles(axes, found)
    top = 0.0
    for name, value, classes in band:
        _band(axes, found, name, value, classes, top)
        top += _BAND_MM + 1
    for name, stretches in gaps:
        _gaps(axes, name, stretches, top)
        top += _GAP_MM + 1.5
    for index, name in enumerate(found.classes):
        _probabilities(axes, found, index, name, top + _SPACE_MM + index * _ROW_MM)
    _time_axis(axes, found)
    return _encoded(figure, suffix)


def _sheet(height_mm: float, *, bottom_mm: float = _BOTTOM_MM) -> tuple[Figure, Axes]:
    """A figure with one drawing area, its y axis in millimetres downwards from the top."""
    figure_class = _matplotlib()
    total_mm = height_mm + _TOP_MM + bottom_mm
    figure = figure_class(figsize=(WIDTH_MM * _MM, total_mm * _MM), dpi=DPI)
    place = (_LEFT_MM / WIDTH_MM, bottom_mm / total_mm, _PLOT_MM / WIDTH_MM, height_mm / total_mm)
    axes = figure.add_axes(place)
    axes.set_ylim(height_mm, 0)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    return figure, axes


def _matplotlib() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AffcliError(f"pictures need matplotlib ({error}). Install it: pip install 'affcli[plot]'") from error
    return Figure


def _text(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """Text as it is written: a $ begins no formula."""
    style: dict[str, Any] = {"fontsize": _TEXT_PT, "color": INK, "va": "center", "clip_on": False} | how
    axes.text(x, y, plain_text(text), parse_math=False, **style)


def _name(axes: Axes, middle_mm: float, text: str, **how: Any) -> None:
    """The name of a row, left of it."""
    shown = text if len(text) <= 14 else f"{text[:13]}…"
    across = axes.get_yaxis_transform()  # x as a share of the width
    _text(axes, -2 / _PLOT_MM, middle_mm, shown, ha="right", transform=across, **how)


def _titles(axes: Axes, found: Timeline) -> None:
    across = axes.get_yaxis_transform()
    length = f"{clock(found.length)}, " if found.timed else ""
    _text(axes, 0, -4.5, _shortened(found.video, 70), transform=across, fontweight="bold", fontsize=9)
    _text(axes, 1, -4.5, f"{length}{counted(found.frames, 'frame')}", transform=across, ha="right", color=MUTED)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _band(axes: Axes, found: Timeline, name: str, value: np.ndarray, classes: Sequence[str], top_mm: float) -> None:
    """A row of blocks in the colours of labels, their names in those that are wide enough."""
    _name(axes, top_mm + _BAND_MM / 2, name)
    flat: dict[str, Any] = {"linewidth": 0, "antialiased": False}
    axes.broken_barh([(found.edge[0], found.length)], (top_mm, _BAND_MM), facecolor=EMPTY, **flat)
    blocks = bands(found.edge, value)
    for start, end, _ in bands(found.edge, found.unsure.astype(np.int64) - 1) if name == "label" else ():
        if (end - start) / found.length * _PLOT_MM >= (len(UNSURE) + 1.5) * _LETTER_MM:
            middle = ((start + end) / 2, top_mm + _BAND_MM / 2)
            _text(axes, *middle, UNSURE, ha="center", fontsize=_SMALL_PT, color=MUTED)
    for index, colour in enumerate(colours_of(classes)):
        own = [(start, end - start) for start, end, label in blocks if label == index]
        axes.broken_barh(own, (top_mm, _BAND_MM), facecolor=colour, **flat)
        for start, width in own:
            if width / found.length * _PLOT_MM >= (len(classes[index]) + 1.5) * _LETTER_MM:
                middle = (start + width / 2, top_mm + _BAND_MM / 2)
                _text(axes, *middle, classes[index], ha="center", fontsize=_SMALL_PT, color=text_on(colour))


def _gaps(axes: Axes, name: str, stretches: list[tuple[float, float]], top_mm: float) -> None:
    _name(axes, top_mm + _GAP_MM / 2, name, fontsize=_SMALL_PT, color=MUTED)
    axes.axhline(top_mm + _GAP_MM / 2, color=RULE, linewidth=0.5, zorder=0)
    widths = [(start, end - start) for start, end in stretches]
    axes.broken_barh(widths, (top_mm, _GAP_MM), facecolor=GAP, linewidth=0, antialiased=False)


def _probabilities(axes: Axes, found: Timeline, index: int, name: str, top_mm: float) -> None:
    """The mean of each column filled, its largest value as a lighter shade behind it."""
    colour = colours_of(found.classes)[index]
    ground, height = top_mm + _ROW_MM - 0.3, _ROW_MM - 1.3
    axes.axhline(ground, color=RULE, linewidth=0.5, zorder=0)
    if not np.array_equal(found.peak[index], found.mean[index], equal_nan=True):
        for x, y in areas(found.edge, found.peak[index]):
            axes.fill(x, ground - height * y, facecolor=colour, alpha=0.35, linewidth=0)
    for x, y in areas(found.edge, found.mean[index]):
        axes.fill(x, ground - height * y, facecolor=colour, linewidth=0)
        axes.plot(x[1:-1], ground - height * y[1:-1], color=INK, linewidth=0.35, alpha=0.7)
    _name(axes, ground - height / 2, name)
    if index == 0:
        for value in (0, 1):
            place = (1 + 1 / _PLOT_MM, ground - height * value)
            how: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": 5.5, "color": MUTED}
            _text(axes, *place, str(value), **how)


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


def _time_axis(axes: Axes, found: Timeline) -> None:
    axes.set_xlim(found.edge[0], max(found.edge[-1], found.edge[0] + 1e-3))
    axes.tick_params(axis="x", colors=MUTED, labelsize=_SMALL_PT, length=2.5, width=0.5)
    if found.timed:
        ticks = ticks_s(float(found.edge[0]), float(found.edge[-1]))
        axes.set_xticks(ticks, [clock(tick) for tick in ticks])
    else:
        axes.locator_params(axis="x", nbins=_MOST_TICKS, integer=True)
        axes.set_xlabel("frame", fontsize=_SMALL_PT, color=MUTED, labelpad=1)


def ticks_s(start_s: float, end_s: float) -> list[float]:
    """At most ten round times from `start_s` to `end_s`."""
    step = next((s for s in _STEPS_S if (end_s - start_s) / s <= _MOST_TICKS), _STEPS_S[-1])
    return [round(k * step, 3) for k in range(int(np.ceil(start_s / step)), int(end_s / step + 1e-6) + 1)]


def clock(time_s: float) -> str:
    """`0:02.5`, `1:05`, `2:00:00`: minutes and seconds, hours before and tenths behind them where there are any."""
    tenths = round(time_s * 10)
    minutes, rest = divmod(tenths, 600)
    seconds = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{minutes // 60}:{minutes % 60:02}:{seconds}" if minutes >= 60 else f"{minutes}:{seconds}"


# --- confusion -------------------------------------------------------------------------------------------------------

_CELL_MM, _CELL_HEIGHT_MM = 16.8, 9.5
_HEAD_MM: Final = 10.0


def confusion_picture(score: Score, title: str, suffix: str) -> bytes:
    """A PNG or SVG of the confusion matrix: shares of each row (the truth) in percent, darker for more."""
    size = len(CLASSES)
    figure, axes = _sheet(size * _CELL_HEIGHT_MM + _HEAD_MM, bottom_mm=3)
    axes.set_xlim(0, _PLOT_MM)
    total = score.confusion.sum(axis=1)
    shares = score.confusion / np.maximum(total, 1)[:, None]
    for column, name in enumerate(CLASSES):
        _text(axes, (column + 0.5) * _CELL_MM, _HEAD_MM - 3, name, ha="center", fontsize=_SMALL_PT)
    _text(axes, _PLOT_MM, _HEAD_MM - 3, "frames", ha="right", fontsize=_SMALL_PT, color=MUTED)
    _text(axes, 0, -4.5, _shortened(title, 60), fontweight="bold", fontsize=9)
    figures = f"macro F1 {score.macro_f1:.3f}, accuracy {score.accuracy:.3f}, {counted(score.frames, 'frame')}"
    _text(axes, _PLOT_MM, -4.5, figures, ha="right", color=MUTED)
    _text(axes, 0, 1, "prediction, in % of the row; rows are the truth", fontsize=_SMALL_PT, color=MUTED)
    for row in range(size):
        _confusion_row(axes, row, shares[row], int(total[row]))
    axes.set_xticks([])
    return _encoded(figure, suffix)


def _confusion_row(axes: Axes, row: int, shares: np.ndarray, total: int) -> None:
    height = _CELL_HEIGHT_MM
    top = _HEAD_MM + row * height
    _name(axes, top + height / 2, CLASSES[row])
    for column, share in enumerate(shares):
        colour = _shade(float(share))
        cell: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "linewidth": 1}
        axes.broken_barh([(column * _CELL_MM, _CELL_MM)], (top, height), **cell)
        weight = "bold" if row == column and share else "normal"
        middle = ((column + 0.5) * _CELL_MM, top + height / 2)
        said = f"{100 * share:.1f}" if share else ("0" if total else "–")
        _text(axes, *middle, said, ha="center", color=text_on(colour) if share else MUTED, fontweight=weight)
    _text(axes, _PLOT_MM, top + height / 2, f"{total:,}", ha="right", fontsize=_SMALL_PT, color=MUTED)


def _shade(share: float) -> str:
    """One hue from nearly white to dark, so that it reads in grey and to every eye."""
    light, dark = np.array([244, 246, 248]), np.array([24, 64, 110])
    red, green, blue = np.rint(light + (dark - light) * min(share, 1) ** 0.8).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _encoded(figure: Figure, suffix: str) -> bytes:
    """The same bytes for the same picture: no date, no random ids."""
    import matplotlib

    sink = io.BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a sign that the font lacks becomes a box
        figure.savefig(sink, format=suffix[1:], metadata=metadata)
    return _shorter_paths(sink.getvalue()) if suffix == ".svg" else sink.getvalue()


def _shorter_paths(svg: bytes) -> bytes:
    """Points of paths to a hundredth of a typographic point, which no eye sees, in half the bytes."""
    return re.sub(rb' d="[^"]*"', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), svg)
