"""Annotation tiers for ELAN: its own documents (.eaf), and the tab-delimited lines that it imports.

Four tiers: `expression` holds the segments, `unsure` the stretches without a label for want of confidence, `no face`
and `no sound` where those are missing (only where the table tells, and only where any are).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as Xml

from affcli.files.inputs import SOUND_SUFFIXES
from affcli.views.labelled_video import LabelledVideo, players_times
from affcli.views.plain_text import allowed, plain_text
from affcli.views.segments import Segments, gaps_of
from affcli.views.uncertainty import UNSURE, unsure_frames
from affcli.views.webvtt import clock, milliseconds

EXPRESSION: Final = "expression"
HEADER: Final = ("Tier", "Begin Time", "End Time", "Duration", "Annotation")
_LINGUISTIC_TYPE: Final = "affcli"
# The format wants a date; the same input shall give the same bytes.
_DATE: Final = "1970-01-01T00:00:00+00:00"
_SCHEMA: Final = {
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
}
# As ELAN itself names them. It takes a file for a video only by one of these; any other video is "video/*".
_MIME_TYPES: Final = {
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".wav": "audio/x-wav",
}


@dataclass(frozen=True)
class Annotation:
    """A stretch of one tier, in whole milliseconds."""

    tier: str
    begin_ms: int
    end_ms: int
    value: str


def annotated(video: LabelledVideo, segments: Segments, source: str) -> list[Annotation]:
    """All tiers, in order, on the clock of players.

    Raises AffcliError where the video has no times; `source` is for the message.
    """
    values = [video.classes[label] for label in segments.label]
    found = list(_tier(video, EXPRESSION, segments, values, source))
    for tier, there in ((UNSURE, ~unsure_frames(video)), ("no face", video.face), ("no sound", video.audio)):
        if there is not None:
            gaps = gaps_of(video, there)
            found += _tier(video, tier, gaps, [tier] * len(gaps), source)
    return found


def _tier(video: LabelledVideo, tier: str, stretches: Segments, values: list[str], source: str) -> Iterator[Annotation]:
    start_s, end_s = players_times(video, source)
    begins, ends = milliseconds(start_s[stretches.first]).tolist(), milliseconds(end_s[stretches.last]).tolist()
    for begin_ms, end_ms, value in zip(begins, ends, values, strict=True):
        yield Annotation(tier, begin_ms, max(end_ms, begin_ms + 1), value)


def tab_delimited(videos: Iterable[tuple[LabelledVideo, Segments]], source: str) -> str:
    """A header and a line an annotation, its tier named `TIER@VIDEO`, so that several videos share a file."""
    lines = ["\t".join(HEADER)]
    for video, segments in videos:
        for one in annotated(video, segments, source):
            times = (clock(one.begin_ms), clock(one.end_ms), clock(one.end_ms - one.begin_ms))
            lines.append("\t".join((_field(f"{one.tier}@{video.video}"), *times, _field(one.value))))
    return "\n".join([*lines, ""])


def _field(text: str) -> str:
    """Text without what would end a field or a line."""
    return plain_text(text).replace('"', "'")


def document(
    video: LabelledVideo, segments: Segments, source: str, *, media: Path | None = None, folder: Path | None = None
) -> str:
    """An ELAN annotation document, format 3.0, of one video.

    `media` is the video's file, linked by its place and by its way from `folder`, where the document is to lie. Without
    it ELAN asks for the video when it opens the document.
    """
    found = annotated(video, segments, source)
    about = {"AUTHOR": "affcli", "DATE": _DATE, "FORMAT": "3.0", "VERSION": "3.0"}
    root = Xml.Element("ANNOTATION_DOCUMENT", {**about, **_SCHEMA})
    header = Xml.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if media is not None:
        Xml.SubElement(header, "MEDIA_DESCRIPTOR", _link(media, folder or Path.cwd()))
    slots = _time_slots(root, found)
    tiers: dict[str, Xml.Element] = {}
    for number, one in enumerate(found, start=1):
        if one.tier not in tiers:
            names = {"LINGUISTIC_TYPE_REF": _LINGUISTIC_TYPE, "TIER_ID": one.tier}
            tiers[one.tier] = Xml.SubElement(root, "TIER", names)
        between = {"TIME_SLOT_REF1": slots[one.begin_ms], "TIME_SLOT_REF2": slots[one.end_ms]}
        identity = {"ANNOTATION_ID": f"a{number}", **between}
        outer = Xml.SubElement(tiers[one.tier], "ANNOTATION")
        inner = Xml.SubElement(outer, "ALIGNABLE_ANNOTATION", identity)
        Xml.SubElement(inner, "ANNOTATION_VALUE").text = allowed(one.value)
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _LINGUISTIC_TYPE, "TIME_ALIGNABLE": "true"}
    Xml.SubElement(root, "LINGUISTIC_TYPE", kind)
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def _link(media: Path, folder: Path) -> dict[str, str]:
    """Nothing in the addresses is escaped: ELAN takes what follows `file:` for a path as it stands."""
    place = media.absolute()
    way = Path(os.path.relpath(place, folder.absolute())).as_posix()
    suffix = media.suffix.lower()
    other = "audio/*" if suffix in SOUND_SUFFIXES else "video/*"
    found = {
        "MEDIA_URL": f"file://{place.as_posix()}",
        "MIME_TYPE": _MIME_TYPES.get(suffix, other),
        "RELATIVE_MEDIA_URL": way if way.startswith("../") else f"./{way}",
    }
    return {name: allowed(text) for name, text in found.items()}


def _time_slots(root: Xml.Element, found: list[Annotation]) -> dict[int, str]:
    """Writes the document's points in time; gives the name of each, by its milliseconds."""
    order = Xml.SubElement(root, "TIME_ORDER")
    times_ms = sorted({time_ms for one in found for time_ms in (one.begin_ms, one.end_ms)})
    slots = {time_ms: f"ts{number}" for number, time_ms in enumerate(times_ms, start=1)}
    for time_ms, name in slots.items():
        Xml.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time_ms))
    return slots
