"""What a run is at, as one line of text that fits into any width. No output here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BAR: Final = 24  # columns
_LONGEST_NAME: Final = 40  # columns
_NAMES: Final = (24, 14, 9, 0)  # in lines that get shorter


@dataclass(frozen=True)
class Shown:
    """What is known at a moment; None and the empty text where it is not.

    `stage` says what goes on where nothing is counted yet. `done` of `total` items are done; `name` is the item at
    work, at its `frame` of about `frames`; `share` is how much of all is done, `left_s` how long it will still take.
    """

    title: str
    stage: str = ""
    elapsed_s: float = 0.0
    done: int = 0
    total: int = 0
    unit: str = "videos"
    counted: str = "frames"
    name: str = ""
    frame: int = 0
    frames: int | None = None
    share: float | None = None
    rate: float | None = None
    left_s: float | None = None
    note: str = ""


def line(shown: Shown, width: int) -> str:
    """The fullest line that fits into `width` columns."""
    if not shown.total:
        texts = [f"{shown.title}: {shown.stage}… {clock(shown.elapsed_s)}", f"{shown.stage}… {clock(shown.elapsed_s)}"]
    else:
        texts = [_long(shown, bar=True), _long(shown, bar=False), *(_short(shown, name) for name in _NAMES)]
        texts.append(_joined(_percent(shown), _left(shown, "")))
    fitting = (text for text in texts if columns(text) <= width)
    return next(fitting, "") or cut(texts[-1], width)


def _long(shown: Shown, *, bar: bool) -> str:
    at = ""
    if shown.name and shown.frame:
        of = f" of {shown.frames:,}" if shown.frames else ""
        at = f"{cut(shown.name, _LONGEST_NAME)}: frame {shown.frame:,}{of}"
    elif shown.name:
        at = cut(shown.name, _LONGEST_NAME)
    rate = "" if not shown.rate else f"{_number(shown.rate)} {shown.counted}/s"
    counts = f"{shown.done:,}/{shown.total:,} {shown.unit}"
    parts = _joined(_percent(shown), counts, at, shown.note, rate, _left(shown, " left"))
    return f"{shown.title} {_bar(shown.share or 0.0)} {parts}" if bar else f"{shown.title}: {parts}"


def _short(shown: Shown, name: int) -> str:
    """With so many columns for the name, if any."""
    frame = "" if not shown.frame else f"{shown.frame:,}/{shown.frames:,}" if shown.frames else f"{shown.frame:,}"
    at = f"{cut(shown.name, name)} {frame}".strip() if name else frame
    rate = "" if not shown.rate else f"{_number(shown.rate)}/s"
    return _joined(_percent(shown), f"{shown.done:,}/{shown.total:,}", at, rate, _left(shown, ""))


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _percent(shown: Shown) -> str:
    return "" if shown.share is None else f"{int(100 * min(shown.share, 1.0)):d} %"


def _left(shown: Shown, word: str) -> str:
    return "" if shown.left_s is None else clock(shown.left_s) + word


def _bar(share: float) -> str:
    full = int(_BAR * min(max(share, 0.0), 1.0))
    return "━" * full + "─" * (_BAR - full)


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def clock(seconds: float) -> str:
    """`0:05`, `12:30`, `1:02:03`, `3 d 04:05`."""
    whole = round(max(seconds, 0.0))
    minutes, days = whole // 60, whole // 86_400
    if days:
        return f"{days} d {minutes // 60 % 24:02d}:{minutes % 60:02d}"
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese and the like take two each."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """The text, or its beginning and end with `…` between, in at most `width` columns."""
    if columns(text) <= width:
        return text
    if width < 3:
        return "…"[:width]
    head, tail = text[: (width - 1) // 2 + 1], text[-(width // 2) :]
    while columns(head) + columns(tail) + 1 > width:
        head, tail = (head[:-1], tail) if columns(head) >= columns(tail) else (head, tail[1:])
    return f"{head}…{tail}"
