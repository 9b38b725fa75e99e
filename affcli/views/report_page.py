"""One self-contained HTML page of a folder's videos: its text, its data, its script and style, nothing to fetch.

Whatever comes from tables and file names is escaped, and the page's own policy lets nothing but its own script run and
nothing but media files load.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affcli import __version__
from affcli.errors import counted
from affcli.palette import EMPTY, colours_of, text_on
from affcli.views.plain_text import plain_text
from affcli.views.timeline import Timeline, bands, gap_bands
from affcli.views.uncertainty import UNSURE

UNKNOWN: Final = 255  # of labels and probabilities; these are from 0 to 254
MOST_SEGMENTS: Final = 300


@dataclass(frozen=True, eq=False)
class PageVideo:
    """A video on the page: `source` is its file's address relative to the page, None where there is none.

    `strip` is the small timeline in the list, `shares` the share of the time of each class, `segments` (start, end,
    class, confidence) and `more` how many of them are left out. `face`, `audio`: shares of the frames, None if unknown.
    `unsure` is the share of the time without a label for want of confidence, `why_unsure` the reasons; `confidence` the
    mean of the frames' largest probabilities, None if unknown.
    """

    timeline: Timeline
    strip: Timeline
    source: str | None
    shares: tuple[float, ...]
    face: float | None
    audio: float | None
    segments: tuple[tuple[float, float, int, float | None], ...]
    more: int
    starts_s: float = 0.0  # when a player shows what has time 0
    unsure: float = 0.0
    why_unsure: tuple[str, ...] = ()
    confidence: float | None = None


def page(title: str, videos: Sequence[PageVideo], notes: Sequence[str] = ()) -> str:
    """The whole page. `notes` are sentences to stand above the list."""
    style, script = _asset("report.css"), _asset("report.js")
    sets = list(dict.fromkeys(video.timeline.classes for video in videos))
    data = {"classes": [_class_set(names) for names in sets], "videos": [_packed(video, sets) for video in videos]}
    policy = (
        f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; "
        "media-src 'self' file:; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=escape(policy),
        title=escape(plain_text(title)),
        style=style,
        script=script,
        summary=escape(_summary(videos)),
        notes="".join(f'<p class="message">{escape(plain_text(note))}</p>\n' for note in notes),
        legend=_legend(sets, unsure=any(video.unsure for video in videos)),
        rows="\n".join(_row(number, video) for number, video in enumerate(videos)),
        data=_json(data),
        version=escape(__version__),
    )


def _asset(name: str) -> str:
    return (files("affcli.views") / "assets" / name).read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: dict[str, Any]) -> str:
    """JSON in which nothing ends the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- what people read ------------------------------------------------------------------------------------------------


def _summary(videos: Sequence[PageVideo]) -> str:
    seconds = sum(video.timeline.length for video in videos if video.timeline.timed)
    frames = counted(sum(video.timeline.frames for video in videos), "frame")
    return f"{counted(len(videos), 'video')}, {spoken(seconds)}, {frames}" if seconds else frames


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
    if video.unsure:
        why = f" ({', '.join(video.why_unsure)})" if video.why_unsure else ""
        facts.append(f"{UNSURE} in {_percent(video.unsure)}{why}")
    return " · ".join(facts)


def _legend(sets: Sequence[Sequence[str]], *, unsure: bool) -> str:
    colour_of = {name: colour for names in sets for name, colour in zip(names, colours_of(names), strict=True)}
    return "\n".join(
        f'<li><svg viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="{colour}"/></svg>'
        f"{escape(plain_text(name))}</li>"
        for name, colour in {**colour_of, **({UNSURE: EMPTY} if unsure else {})}.items()
    )


def _row(number: int, video: PageVideo) -> str:
    return (
        f'<tr data-video="{number}"><th scope="row"><a href="#video={number}">'
        f"{escape(plain_text(video.timeline.video))}</a>{_strip(video.strip)}</th>"
        f'<td class="number">{escape(_length(video.timeline))}</td><td>{_commonest(video)}</td>'
        f'<td class="number minor">{_percent(video.confidence)}</td>'
        f'<td class="number minor">{_percent(video.face)}</td>'
        f'<td class="number minor">{_percent(video.audio)}</td></tr>'
    )


def _strip(found: Timeline) -> str:
    """The label band, small: hidden from screen readers, to which the shares beside it say more."""
    start, length = float(found.edge[0]), found.length or 1.0
    colours = colours_of(found.classes)
    blocks = "".join(
        f'<rect x="{1000 * (a - start) / length:.0f}" width="{max(1000 * (b - a) / length, 1):.0f}" height="1" '
        f'fill="{colours[label]}"/>'
        for a, b, label in bands(found.edge, found.label)
    )
    ground = f'<rect width="1000" height="1" fill="{EMPTY}"/>'
    how = 'viewBox="0 0 1000 1" preserveAspectRatio="none" shape-rendering="crispEdges" aria-hidden="true"'
    return f'<svg class="strip" {how}>{ground}{blocks}</svg>'


# --- what the script reads -------------------------------------------------------------------------------------------


def _class_set(names: Sequence[str]) -> dict[str, Any]:
    colours = colours_of(names)
    return {
        "names": [plain_text(name) for name in names],
        "colours": colours,
        "inks": [text_on(colour) for colour in colours],
    }


def _packed(video: PageVideo, sets: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    found = video.timeline
    peaks = None if np.array_equal(found.peak, found.mean, equal_nan=True) else _base64(_eighths(found.peak))
    return {
        "name": plain_text(found.video),
        "facts": _facts(video),
        "source": video.source,
        "set": sets.index(found.classes),
        "timed": found.timed,
        "starts": round(video.starts_s, 6),
        "edge": _base64(found.edge.astype("<f4")),
        "label": _base64(np.where(found.label < 0, UNKNOWN, found.label).astype(np.uint8)),
        "mean": _base64(_eighths(found.mean)),
        "peak": peaks,
        "face": [] if found.face is None else _rounded(gap_bands(found.edge, found.face)),
        "audio": [] if found.audio is None else _rounded(gap_bands(found.edge, found.audio)),
        "segments": video.segments,
        "more": video.more,
    }


def _eighths(probability: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Probabilities in a byte each: 0 to 254, 255 where there is none."""
    scaled = np.rint(np.clip(np.nan_to_num(probability), 0, 1) * (UNKNOWN - 1))
    found: NDArray[np.uint8] = np.where(np.isnan(probability), UNKNOWN, scaled).astype(np.uint8)
    return found


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _rounded(stretches: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(round(start, 3), round(end, 3)) for start, end in stretches]


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
<body>
<a class="skip" href="#detail">To the player</a>
<header>
<h1>{title}</h1>
<p class="muted">{summary}</p>
{notes}<ul class="legend" aria-label="Colours of the labels">
{legend}
</ul>
</header>
<main>
<div class="videos" role="region" aria-label="Videos" tabindex="0">
<table>
<caption>Videos and their most frequent labels</caption>
<thead><tr><th scope="col">Video</th><th scope="col" class="number">Length</th><th scope="col">Most frequent labels</th>
<th scope="col" class="number minor">Confidence</th>
<th scope="col" class="number minor">Face</th><th scope="col" class="number minor">Audio</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<section id="detail" aria-labelledby="title" hidden>
<h2 id="title" tabindex="-1"></h2>
<p id="facts" class="muted"></p>
<p id="message" class="message" role="status" hidden></p>
<div id="beside" class="beside">
<video id="player" controls preload="metadata" playsinline></video>
<div>
<div class="timeline">
<div id="names" aria-hidden="true"></div>
<div id="slider" role="slider" tabindex="0" aria-describedby="keys">
<canvas aria-hidden="true"></canvas><div id="head"></div></div>
<div id="values" aria-hidden="true"></div>
</div>
<output id="now" aria-live="off"></output>
<p id="keys" class="keys muted"><kbd>←</kbd> <kbd>→</kbd> move by one second, with <kbd>Shift</kbd> by one frame;
<kbd>Page Up</kbd> <kbd>Page Down</kbd> go to the next or previous segment; <kbd>Space</kbd> plays and pauses. The
numbers are probabilities in percent.</p>
<details><summary id="count"></summary>
<div class="segments" role="region" aria-labelledby="count" tabindex="0"><table>
<thead><tr><th scope="col">Start</th><th scope="col" class="number">Length</th><th scope="col">Label</th>
<th scope="col" class="number">Probability</th></tr></thead>
<tbody id="segments"></tbody>
</table></div>
<p id="more" class="muted" hidden></p>
</details>
</div>
</div>
</section>
</main>
<footer class="muted">Made with affcli {version}. Labels describe apparent expression, not felt emotion.</footer>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
