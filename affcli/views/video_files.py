"""The media files that videos of a table are found in by name, and how they are linked from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

from affcli.errors import AffcliError
from affcli.files.inputs import SOUND_SUFFIXES, VIDEO_SUFFIXES
from affcli.files.shown_name import shown_name
from affcli.schema import base_names

# By browsers.
PLAYED_VIDEO: Final = (".mp4", ".m4v", ".webm", ".mov", ".ogv")
PLAYED_SOUND: Final = (".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
PLAYED: Final = frozenset((*PLAYED_VIDEO, *PLAYED_SOUND))


class VideoFiles:
    """Media files by video id: by path within the folder, else by name where only one has it.

    Of files that differ in nothing but the suffix a video counts before a sound file, and one that browsers play before
    one that they do not.
    """

    def __init__(self, folder: str | None, *, sound: bool = False) -> None:
        """None: no files. `sound`: sound files, too. Raises AffcliError where there is no folder, or none in it."""
        suffixes = VIDEO_SUFFIXES | (SOUND_SUFFIXES if sound else frozenset())
        self._by_id: dict[str, Path] = {} if folder is None else _media_in(folder, suffixes)
        by_name: dict[str, list[Path]] = {}
        for video, path in self._by_id.items():
            by_name.setdefault(PurePosixPath(video).name, []).append(path)
        self._by_name: Mapping[str, Path] = {name: paths[0] for name, paths in by_name.items() if len(paths) == 1}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def of(self, video: str) -> Path | None:
        """The file of a video, or of the recording that a person is in."""
        for name in (video, *base_names(video)):
            found = self._by_id.get(name) or self._by_name.get(name)
            if found is not None:
                return found
        return None


def _media_in(folder: str, suffixes: frozenset[str]) -> dict[str, Path]:
    if not Path(folder).is_dir():
        raise AffcliError(f"{folder}: is no folder of videos.")
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    media = [path for path in found if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    if not media:
        raise AffcliError(f"{folder}: no videos in this folder.")
    media.sort(key=_rank)
    by_id: dict[str, Path] = {}
    for path in media:
        by_id.setdefault(shown_name(path.relative_to(folder).with_suffix("").as_posix()), path)
    return by_id


def _rank(path: Path) -> tuple[bool, bool, Path]:
    suffix = path.suffix.lower()
    return suffix in SOUND_SUFFIXES, suffix not in PLAYED, path


def files_beside(source: str) -> VideoFiles:
    """The media beside a table, or in a folder of tables; none where there are none."""
    beside = source if Path(source).is_dir() else str(Path(source).absolute().parent)
    try:
        return VideoFiles(beside, sound=True)
    except AffcliError:
        return VideoFiles(None)


def address(file: Path, page_folder: Path) -> str:
    """The relative address of a file, from the folder that the page lies in; every odd character is escaped."""
    relative = os.path.relpath(file.absolute(), page_folder.absolute())
    return quote(os.fsencode(Path(relative).as_posix()))
