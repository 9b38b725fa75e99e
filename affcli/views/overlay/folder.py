"""A folder of frame tables and the folder of their videos → a folder of videos with the labels drawn in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from affcli.errors import AffcliError, PartialError, listed
from affcli.files.outputs import inside, refuse_shared
from affcli.schema import base_names
from affcli.views.labelled_video import LabelledTable
from affcli.views.overlay.run import overlay, people_in
from affcli.views.video_files import VideoFiles

SUFFIX: Final = ".mp4"  # played everywhere

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawing:
    """One video to draw: its name in the table, its file (None where there is none), and where it is written."""

    video: str
    source: Path | None
    output: Path


def planned(ids: Sequence[str], videos: str, output: str, *, force: bool) -> list[Drawing]:
    """What is to be drawn, a drawing a recording; what is there already is left out, unless it is to be replaced.

    Raises AffcliError where the output is no folder, or a name leads out of it.
    """
    folder, files = Path(output), VideoFiles(videos)
    if folder.exists() and not folder.is_dir():
        raise AffcliError(f"{folder}: is a file, and a folder is to be written.")
    names = dict.fromkeys(_recording(video, files) for video in ids)
    refuse_shared(f"{name}{SUFFIX}" for name in names)
    plan = [Drawing(name, files.of(name), inside(folder, f"{name}{SUFFIX}")) for name in names]
    there = [] if force else [one.output.name for one in plan if one.output.exists()]
    if there:
        log.warning("%s: drawn already, and kept: %s. Replace with --force.", folder, listed(there))
    return [one for one in plan if force or not one.output.exists()]


def draw_folder(plan: Sequence[Drawing], table: LabelledTable, faces: str | None, advance: Callable[..., None]) -> int:
    """Draws each; names those that fail or are incomplete, and goes on; returns how many they are."""
    failed = 0
    for one in plan:
        try:
            _draw(one, table, faces)
        except (AffcliError, OSError) as error:
            log.error("%s", error)
            failed += 1
        advance(1)
    return failed


def _draw(one: Drawing, table: LabelledTable, faces: str | None) -> None:
    if one.source is None:
        raise PartialError(f"{one.video}: no file of this name in the folder of videos.")
    one.output.parent.mkdir(parents=True, exist_ok=True)
    for _ in overlay(one.source, people_in(table, one.source, one.video, faces), str(one.output)):
        pass


def _recording(video: str, files: VideoFiles) -> str:
    """The name of the file that a person is in, or the video's own."""
    own = files.of(video)
    return next((name for name in reversed(base_names(video)) if own is not None and files.of(name) == own), video)
