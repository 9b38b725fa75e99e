"""One self-contained HTML page of a folder's videos: its text, its data, its script and style, nothing to fetch.

The numbers of each video stand in a block of their own at the end, so that the list and the script are there before
them, and only those of the video that is looked at are ever read.

Whatever comes from tables and file names is escaped, and the page's own policy lets nothing but its own script run and
nothing but media files load.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import chain
from string import Formatter
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from affcli import __version__
from affcli.errors import counted
from affcli.files.outputs import naming_temporary
from affcli.palette import colours_of
from affcli.views.plain_text import plain_text
from affcli.views.strip import data_address, strip_png
from affcli.views.timeline import Timeline, gap_bands
from affcli.views.uncertainty import UNSURE

UNKNOWN: Final = 255  # of labels and probabilities; these are from 0 to 254
MOST_SEGMENTS: Final = 300
_AT_ONCE: Final = 1 << 20  # characters of a temporary file
ROWS_AT_ONCE: Final = 80  # of the list: more would make every change of the page slow; as in report.js


@dataclass(frozen=True, eq=False)
class PageVideo:
    """A video on the page: `source` is the address, relative to the page, of a file that browsers play, None where
    there is none, and `file` the name of one that they do not play; `sound`: it holds no picture.

    `strip` is the small timeline in the list, `shares` the share of the time of each class, `segments` (start, end,
    class, confidence) and `more` how many of them are left out. `face`, `audio`: shares of the frames, None if unknown.
    `unsure` is the share of the time without a label for want of confidence, `problem` why that is so or frames are
    missing; `confidence` the mean of the frames' largest probabilities, None if unknown.
    """

    timeline: Timeline
    strip: Timeline
    source: str | None
    file: str | None
    sound: bool
    shares: tuple[float, ...]
    face: float | None
    audio: float | None
    segments: tuple[tuple[float, float, int, float | None], ...]
    more: int
    starts_s: float = 0.0  # when a player shows what has time 0
    unsure: float = 0.0
    problem: str | None = None
    confidence: float | None = None


class ReportPage:
    """The page while its videos are added, one after the other: of each only text is kept, in temporary files."""

    def __init__(self) -> None:
        self.videos = 0
        self._sets: dict[tuple[str, ...], int] = {}  # of classes, and their number on the page
        self._first: list[str] = []  # rows of the list
        self._seconds, self._frames, self._unsure = 0.0, 0, False
        with ExitStack() as made:
            self._further, self._index, self._blocks = (made.enter_context(_Spool(by)) for by in ("\n", ",", "\n"))
            self._files = made.pop_all()

    def __enter__(self) -> ReportPage:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, video: PageVideo) -> None:
        """The next video of the list."""
        which = self._sets.setdefault(video.timeline.classes, len(self._sets))
        self._add_row(_row(self.videos, video))
        self._index.add(_json(_listed(video)))
        self._blocks.add(_block(self.videos, _packed(video, which)))
        self.videos += 1
        self._seconds += video.timeline.length if video.timeline.timed else 0.0
        self._frames += video.timeline.frames
        self._unsure |= bool(video.unsure)

    def _add_row(self, row: str) -> None:
        if len(self._first) < ROWS_AT_ONCE:
            self._first.append(row)
        else:
            self._further.add(row)

    def pieces(
        self, title: str, notes: Sequence[str] = (), failed: Sequence[tuple[str, str | None]] = ()
    ) -> Iterator[str]:
        """The whole page, piece by piece. `notes` are sentences to stand above the list, `failed` videos that have no
        labels, and why.
        """
        for one in failed:
            self._add_row(_failed_row(*one))
        sets = list(self._sets)
        style, script = _asset("report.css") + _legend_style(sets), _asset("report.js")
        policy = (
            f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; "
            "media-src 'self' file:; img-src data:; base-uri 'none'; form-action 'none'"
        )
        summary = self._summary() + (f"; {len(failed):,} not labelled" if failed else "")
        classes = _json([_class_set(names) for names in sets])
        fields: dict[str, Iterable[str]] = {
            "policy": [escape(policy)],
            "title": [escape(plain_text(title))],
            "style": [style],
            "script": [script],
            "summary": [escape(summary)],
            "notes": (f'<p class="message">{escape(plain_text(note))}</p>\n' for note in notes),
            "legend": [_legend(sets, unsure=self._unsure)],
            "count": [str(self.videos + len(failed))],
            "rows": ["\n".join(self._first)],
            "further": self._further,
            "data": chain([f'{{"classes":{classes},"index":['], self._index, ["]}"]),
            "blocks": self._blocks,
            "version": [escape(__version__)],
        }
        for text, field, _, _ in Formatter().parse(_asset("report.html")):
            yield text
            if field is not None:
                yield from fields[field]

    def _summary(self) -> str:
        frames = counted(self._frames, "frame")
        return f"{counted(self.videos, 'video')}, {spoken(self._seconds)}, {frames}" if self._seconds else frames


class _Spool:
    """Pieces of text in a temporary file, `by` what stands between them; read again from the beginning."""

    def __init__(self, by: str) -> None:
        self._by, self._next = by, ""
        with naming_temporary():
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: SIM115

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # on a full disk, what is still in memory cannot be written, nor is it wanted
            self._file.close()

    def add(self, text: str) -> None:
        with naming_temporary():
            self._file.write(self._next + text)
        self._next = self._by

    def __iter__(self) -> Iterator[str]:
        with naming_temporary():
            self._file.seek(0)
        while text := self._file.read(_AT_ONCE):
            yield text


def _asset(name: str) -> str:
    return (files("affcli.views") / "assets" / name).read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: dict[str, Any] | list[Any]) -> str:
    """JSON in which nothing ends the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- what people read ------------------------------------------------------------------------------------------------


def spoken(seconds: float) -> str:
    """`2 h 0 min`, `1 min 5 s`, `2.4 s`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _length(found: Timeline) -> str:
    return spoken(found.length) if found.timed else counted(found.frames, "frame")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}\u00a0%"


def _commonest(video: PageVideo) -> str:
    """`Happiness 62 %, Neutral 30 %`: the classes that fill most of the time, three at most."""
    order = sorted(range(len(video.shares)), key=lambda index: -video.shares[index])[:3]
    named = [(video.timeline.classes[index], video.shares[index]) for index in order if video.shares[index] >= 0.005]
    named += [(UNSURE, video.unsure)] if video.unsure >= 0.005 else []
    items = [f'<span class="item">{escape(plain_text(name))} {_percent(share)}</span>' for name, share in named]
    return ", ".join(items) or "no label"


def _facts(video: PageVideo) -> str:
    facts = [_length(video.timeline), counted(video.timeline.frames, "frame")] if video.timeline.timed else []
    facts = facts or [counted(video.timeline.frames, "frame")]
    facts += [f"face in {_percent(video.face)}"] if video.face is not None else []
    facts += [f"audio in {_percent(video.audio)}"] if video.audio is not None else []
    facts += [f"mean confidence {_percent(video.confidence)}"] if video.confidence is not None else []
    facts += [f"{UNSURE} in {_percent(video.unsure)}"] if video.unsure else []
    return " · ".join(facts)


def _legend_of(sets: Sequence[Sequence[str]]) -> dict[str, tuple[str, str]]:
    """The colours of each class, light and dark."""
    both = ((names, colours_of(names), colours_of(names, dark=True)) for names in sets)
    return {name: (light, dark) for names, *pair in both for name, light, dark in zip(names, *pair, strict=True)}


def _legend_style(sets: Sequence[Sequence[str]]) -> str:
    colours = list(_legend_of(sets).values())
    light = "".join(f".k{number}{{fill:{one}}}" for number, (one, _) in enumerate(colours))
    dark = "".join(f".k{number}{{fill:{other}}}" for number, (_, other) in enumerate(colours))
    return f".unsure{{fill:var(--ground)}}{light}@media screen and (prefers-color-scheme: dark){{{dark}}}"


def _legend(sets: Sequence[Sequence[str]], *, unsure: bool) -> str:
    kinds = [(name, f"k{number}") for number, name in enumerate(_legend_of(sets))]
    return "\n".join(
        f'<li><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="{kind}" width="1" height="1"/></svg>'
        f"{escape(plain_text(name))}</li>"
        for name, kind in [*kinds, *([(UNSURE, UNSURE)] if unsure else [])]
    )


def _row(number: int, video: PageVideo) -> str:
    name = plain_text(video.timeline.video)
    problem = plain_text(video.problem) if video.problem else ""
    why = f'<span class="why" title="{escape(problem)}">{escape(problem)}</span>' if problem else ""
    return (
        f'<tr data-video="{number}" data-name="{escape(name)}">'
        f'<th scope="row"><a href="#{escape(quote(name, safe=""))}">'
        f"{escape(name)}</a>{_strip(video.strip)}</th>"
        f'<td class="number length minor">{escape(_length(video.timeline))}</td><td>{_commonest(video)}{why}</td>'
        f'<td class="number">{_percent(video.confidence)}</td>'
        f'<td class="number minor">{_percent(video.face)}</td>'
        f'<td class="number minor">{_percent(video.audio)}</td></tr>'
    )


def _failed_row(video: str, reason: str | None) -> str:
    name, why = plain_text(video), f": {plain_text(reason)}" if reason else ""
    none = '<td class="number">–</td><td class="number minor">–</td><td class="number minor">–</td>'
    return (
        f'<tr class="failed" data-name="{escape(name)}"><th scope="row">{escape(name)}</th>'
        f'<td class="number length minor">–</td><td>not labelled{escape(why)}</td>{none}</tr>'
    )


def _strip(found: Timeline) -> str:
    """The label band, small: hidden from screen readers, to which the shares beside it say more."""
    how = 'width="1" height="1" preserveAspectRatio="none"'
    pictures = "".join(
        f'<image class="on-{ground}" href="{data_address(strip_png(found, colours))}" {how}/>'
        for ground, colours in (("light", colours_of(found.classes)), ("dark", colours_of(found.classes, dark=True)))
    )
    return f'<svg class="strip" viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">{pictures}</svg>'


# --- what the script reads -------------------------------------------------------------------------------------------


def _class_set(names: Sequence[str]) -> dict[str, Any]:
    light, dark = colours_of(names), colours_of(names, dark=True)
    return {"names": [plain_text(name) for name in names], "light": light, "dark": dark}


def _listed(video: PageVideo) -> list[Any]:
    """What the list is sorted by: name, length, the most frequent label and its share, confidence, face, audio."""
    most = max(range(len(video.shares)), key=lambda index: video.shares[index], default=-1)
    share = video.shares[most] if most >= 0 else 0.0
    label = plain_text(video.timeline.classes[most]) if share > 0 else None
    numbers = (None if one is None else round(one, 4) for one in (video.confidence, video.face, video.audio))
    return [plain_text(video.timeline.video), round(video.timeline.length, 3), label, round(share, 4), *numbers]


def _block(number: int, packed: dict[str, Any]) -> str:
    return f'<script type="application/json" id="v{number}">{_json(packed)}</script>'


def _packed(video: PageVideo, which: int) -> dict[str, Any]:
    found = video.timeline
    peaks = None if np.array_equal(found.peak, found.mean, equal_nan=True) else _base64(_eighths(found.peak))
    return {
        "name": plain_text(found.video),
        "facts": _facts(video),
        "problem": video.problem,
        "source": video.source,
        "file": video.file,
        "sound": video.sound,
        "set": which,
        "timed": found.timed,
        "starts": round(video.starts_s, 6),
        **_edges(found.edge),
        "label": _base64(np.where(found.label < 0, UNKNOWN, found.label).astype(np.uint8)),
        "mean": _base64(_eighths(found.mean)),
        "peak": peaks,
        "face": [] if found.face is None else _rounded(gap_bands(found.edge, found.face)),
        "audio": [] if found.audio is None else _rounded(gap_bands(found.edge, found.audio)),
        "segments": video.segments,
        "more": video.more,
    }


def _edges(edge: NDArray[np.float64]) -> dict[str, Any]:
    """Where the columns begin and end: the whole span, where they are equally wide."""
    start, end = float(edge[0]), float(edge[-1])
    if len(edge) > 2 and np.allclose(edge, np.linspace(start, end, len(edge)), rtol=0, atol=1e-4):
        return {"span": [round(start, 6), round(end, 6)]}
    return {"edge": _base64(edge.astype("<f4"))}


def _eighths(probability: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Probabilities in a byte each: 0 to 254, 255 where there is none."""
    scaled = np.rint(np.clip(np.nan_to_num(probability), 0, 1) * (UNKNOWN - 1))
    found: NDArray[np.uint8] = np.where(np.isnan(probability), UNKNOWN, scaled).astype(np.uint8)
    return found


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _rounded(stretches: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(round(start, 3), round(end, 3)) for start, end in stretches]
