"""A sheet to draw on with matplotlib, measured in millimetres on paper. The only importer of matplotlib."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from affcli.errors import AffcliError, UsageError
from affcli.palette import INK
from affcli.views.plain_text import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES: Final = (".png", ".svg", ".pdf")
WIDTH_MM: Final = 180.0  # a page's text
DPI: Final = 200
LEFT_MM, RIGHT_MM, TOP_MM = 23.0, 6.0, 9.0
TEXT_PT, SMALL_PT, TITLE_PT = 8.0, 7.0, 9.0
_MM: Final = 1 / 25.4  # inches
_LETTER_MM: Final = 0.21  # of text, about: its width at a size of one point
_BOLD: Final = 1.12  # how much wider bold text is
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "affcli",
    "pdf.fonttype": 42,  # TrueType, which journals ask for
    "font.family": ["DejaVu Sans"],
}


@dataclass(frozen=True)
class Look:
    """How large a picture is, in millimetres, and its title: None takes what suits the content."""

    width_mm: float = WIDTH_MM
    height_mm: float | None = None
    title: str | None = None

    @property
    def plot_mm(self) -> float:
        """The width that is drawn on."""
        return self.width_mm - LEFT_MM - RIGHT_MM

    def row_mm(self, usual_mm: float, rows: int, beside_mm: float, *, least_mm: float, least_width_mm: float) -> float:
        """The height of each of some equal rows, of which `beside_mm` of the height is no part.

        Raises UsageError where the picture is too small for them, or for its texts.
        """
        row_mm = usual_mm if self.height_mm is None else (self.height_mm - beside_mm) / rows
        if row_mm < least_mm - 1e-6 or self.width_mm < least_width_mm:
            least = f"{least_width_mm:.0f}x{rows * least_mm + beside_mm:.0f}"
            raise UsageError(f"--size: too small for what is to be drawn; it takes {least} mm at least.")
        return row_mm


class Sheet:
    """A figure with one drawing area, its y axis in millimetres downwards from the top."""

    def __init__(self, look: Look, height_mm: float, *, bottom_mm: float) -> None:
        """`height_mm` is that of the drawing area."""
        figure_class = _matplotlib()
        self.plot_mm = look.plot_mm
        total_mm = height_mm + TOP_MM + bottom_mm
        self._figure: Figure = figure_class(figsize=(look.width_mm * _MM, total_mm * _MM), dpi=DPI)
        place = (LEFT_MM / look.width_mm, bottom_mm / total_mm, self.plot_mm / look.width_mm, height_mm / total_mm)
        self.axes: Axes = self._figure.add_axes(place)
        self.axes.set_ylim(height_mm, 0)
        self.axes.set_yticks([])
        for side in self.axes.spines.values():
            side.set_visible(False)

    def text(self, x: float, y_mm: float, text: str, **how: Any) -> None:
        """Text as it is written: a $ begins no formula."""
        style: dict[str, Any] = {"fontsize": TEXT_PT, "color": INK, "va": "center", "clip_on": False} | how
        self.axes.text(x, y_mm, plain_text(text), parse_math=False, **style)

    def name(self, middle_mm: float, text: str, **how: Any) -> None:
        """The name of a row, left of it."""
        shown = text if len(text) <= 14 else f"{text[:13]}…"
        self.text(-2 / self.plot_mm, middle_mm, shown, ha="right", transform=self.axes.get_yaxis_transform(), **how)

    def head(self, title: str, figures: str, *, color: str) -> None:
        """The title, shortened where the sheet is too narrow for it, and figures at the right where they have room."""
        across = self.axes.get_yaxis_transform()  # x as a share of the width
        letter_mm = width_mm("n", _BOLD * TITLE_PT)
        most = max(int(self.plot_mm / letter_mm), 4)
        shown = title if len(title) <= most else f"{title[: most - 1]}…"
        self.text(0, -4.5, shown, transform=across, fontweight="bold", fontsize=TITLE_PT)
        if len(shown) * letter_mm + 3 + width_mm(figures, TEXT_PT) <= self.plot_mm:
            self.text(1, -4.5, figures, transform=across, ha="right", color=color)

    def encoded(self, suffix: str) -> bytes:
        """The same bytes for the same picture: no date, no random ids."""
        import matplotlib

        sink = io.BytesIO()
        nothing = {".svg": ["Date"], ".png": ["Software"], ".pdf": ["CreationDate", "Creator", "Producer"]}
        metadata = dict.fromkeys(nothing[suffix])
        with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a sign that the font lacks becomes a box
            self._figure.savefig(sink, format=suffix[1:], metadata=metadata)
        return _shorter_paths(sink.getvalue()) if suffix == ".svg" else sink.getvalue()


def width_mm(text: str, size_pt: float) -> float:
    """About how wide a text is."""
    return len(text) * size_pt * _LETTER_MM


def _matplotlib() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AffcliError(f"pictures need matplotlib ({error}). Install it: pip install 'affcli[plot]'") from error
    return Figure


def _shorter_paths(svg: bytes) -> bytes:
    """Points of paths to a hundredth of a typographic point, which no eye sees, in half the bytes."""
    return re.sub(rb' d="[^"]*"', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path[0]), svg)
