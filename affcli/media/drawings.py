"""Drawings for the eye: a few frames of each video with the faces that were taken, their landmarks and their crops."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from affcli.errors import AffcliError
from affcli.media.faces import Face, Pixels
from affcli.media.sightings import Bookmark, SeenFrame, Sighting, Watcher
from affcli.media.video import Frame

MOST: Final = 8  # drawings of a video
_LONG_SIDE: Final = 640  # pixels; larger frames are reduced to it
_CROP_SIDE: Final = 192
_MARGIN: Final = 8
_COLOURS: Final = ("#ffd400", "#00c8ff", "#ff5ad2", "#7dff5a")  # of persons, in turn
_GROUND: Final = "#202020"

log = logging.getLogger(__name__)


class Drawings:
    """A folder with at most 8 drawings of each video, `VIDEO_000017.jpg` for frame 17.

    Drawn are, of the frames that were looked at, 1, 1 + k, 1 + 2k, …: k is the smallest power of two that leaves at
    most 8 of them, which needs no knowledge of the video's length beforehand.
    """

    def __init__(self, folder: str) -> None:
        """Makes the folder; raises AffcliError where that cannot be."""
        self._folder, self._ended = Path(folder), False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AffcliError(f"--debug-faces {folder}: the folder cannot be made ({error.strerror}).") from error

    def of(self, video: str, watch: Watcher) -> Watcher:
        """The same watcher, its frames drawn as they come out of it."""

        def watch_and_draw(frames: Iterator[Frame], after: Bookmark | None = None) -> Iterator[SeenFrame]:
            waiting: dict[int, Pixels] = {}  # the watcher may be some frames ahead

            def noted() -> Iterator[Frame]:
                for frame in frames:
                    if frame.pixels is not None:
                        waiting[frame.number] = frame.pixels
                    yield frame

            chosen = _Chosen(self._folder / video, afresh=after is None)
            for seen in watch(noted(), after):
                pixels = waiting.pop(seen.number, None)
                if seen.looked and pixels is not None:
                    self._add(chosen, seen, pixels)
                yield seen

        return watch_and_draw

    def _add(self, chosen: _Chosen, seen: SeenFrame, pixels: Pixels) -> None:
        if self._ended:
            return
        try:
            chosen.add(seen, pixels)
        except OSError as error:  # no reason to lose the features
            self._ended = True
            log.warning("%s: nothing more is drawn (%s).", self._folder, error.strerror or error)


class _Chosen:
    """The drawings of one video on the disk, thinned out as more frames come."""

    def __init__(self, stem: Path, *, afresh: bool) -> None:
        self._stem, self._step, self._afresh = stem, 1, afresh

    @cached_property
    def _paths(self) -> dict[int, Path]:
        """The drawings there are, by frame; those of an earlier extraction are taken away."""
        self._stem.parent.mkdir(parents=True, exist_ok=True)
        name = re.compile(re.escape(self._stem.name) + r"_(\d{6,})\.jpg")
        matches = {path: name.fullmatch(path.name) for path in self._stem.parent.iterdir()}
        found = {int(match[1]): path for path, match in matches.items() if match}
        if not self._afresh:
            return found
        for path in found.values():
            path.unlink()
        return {}

    def add(self, seen: SeenFrame, pixels: Pixels) -> None:
        if (seen.number - 1) % self._step:
            return
        path = self._stem.with_name(f"{self._stem.name}_{seen.number:06d}.jpg")
        known = self._paths  # before the first is saved
        drawing(pixels, seen).save(path, quality=90)
        known[seen.number] = path
        while len(self._paths) > MOST:
            self._step *= 2
            for number in [number for number in self._paths if (number - 1) % self._step]:
                self._paths.pop(number).unlink(missing_ok=True)


def drawing(pixels: Pixels, seen: SeenFrame) -> Image.Image:
    """The frame with a box and 5 landmarks for each face taken, and beside it the crops that the encoder gets."""
    frame = Image.fromarray(pixels)
    scale = min(1.0, _LONG_SIDE / max(frame.size))
    frame = frame.resize((max(1, round(frame.width * scale)), max(1, round(frame.height * scale))))
    rows = [_crops(sighting) for sighting in seen.sightings.values()]
    width = frame.width + max((row.width for row in rows), default=0)
    height = max(frame.height + 2 * _MARGIN, sum(row.height for row in rows))
    sheet = Image.new("RGB", (width, height), _GROUND)
    sheet.paste(frame, (0, 2 * _MARGIN))
    draw = ImageDraw.Draw(sheet)
    time = "" if seen.time_s is None else f", {seen.time_s:.3f} s"
    draw.text((_MARGIN, 2), f"frame {seen.number}{time}{'' if seen.sightings else ': no face'}", fill="white")
    top = 0
    for (person, sighting), row in zip(seen.sightings.items(), rows, strict=True):
        colour = _COLOURS[(person - 1) % len(_COLOURS)]
        sheet.paste(row, (frame.width, top))
        if sighting.face is not None:
            _mark(draw, sighting.face, scale, colour)
            draw.text((frame.width + _MARGIN, top + 2), f"person {person}, {sighting.face.score:.3f}", fill=colour)
        top += row.height
    return sheet


def _crops(sighting: Sighting) -> Image.Image:
    """The crops of one face side by side, with room for a line of words above."""
    row = Image.new("RGB", (len(sighting.crops) * (_CROP_SIDE + _MARGIN) + _MARGIN, _CROP_SIDE + 3 * _MARGIN), _GROUND)
    for index, crop in enumerate(sighting.crops):
        shown = Image.fromarray(crop).resize((_CROP_SIDE, _CROP_SIDE))
        row.paste(shown, (_MARGIN + index * (_CROP_SIDE + _MARGIN), 2 * _MARGIN))
    return row


def _mark(draw: ImageDraw.ImageDraw, face: Face, scale: float, colour: str) -> None:
    x, y, width, height = (side * scale for side in face.box)
    top = y + 2 * _MARGIN
    draw.rectangle((x, top, x + width, top + height), outline=colour, width=2)
    for point_x, point_y in face.landmarks * scale:
        middle_y = point_y + 2 * _MARGIN
        draw.ellipse((point_x - 2.5, middle_y - 2.5, point_x + 2.5, middle_y + 2.5), fill=colour, outline="black")
