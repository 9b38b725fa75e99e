"""Which of a source's other tracks a container can hold, tried with ffmpeg itself."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from affcli.errors import listed
from affcli.media.ffmpeg import environment, executable, input_options
from affcli.media.ffmpeg_log import Description, Track

FORMAT_OF_SUFFIX: Final = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_COPIED: Final = ("Audio", "Subtitle")
_PLAIN: Final = {"Audio": "sound", "Subtitle": "subtitle", "Video": "picture"}

log = logging.getLogger(__name__)


def kept_tracks(path: Path, found: Description, drawn: Track, suffix: str) -> tuple[Track, ...]:
    """The sound and subtitle tracks that a file of this suffix can hold; the others are named in a note."""
    wanted = [track for track in found.tracks if track.kind in _COPIED]
    kept = wanted if _can_hold(path, wanted, suffix) else [one for one in wanted if _can_hold(path, [one], suffix)]
    lost = [track for track in found.tracks if track not in kept and track != drawn]
    if lost:
        any_sound = any(track in wanted for track in lost) and suffix != ".mkv"
        way = " (.mkv holds more kinds)" if any_sound else ""
        log.warning("%s: left out of the new %s file%s: %s.", path, suffix, way, listed(list(map(_named, lost))))
    return tuple(kept)


def copied(tracks: Sequence[Track], *, source: int) -> list[str]:
    """ffmpeg's arguments that copy these tracks of its input number `source`."""
    return [*(word for track in tracks for word in ("-map", f"{source}:{track.index}")), "-c:a", "copy", "-c:s", "copy"]


def _can_hold(path: Path, tracks: Sequence[Track], suffix: str) -> bool:
    """Whether a file can be made of the beginnings of these tracks. It is a real file: some formats go back in it."""
    if not tracks:
        return True
    command = [executable(), "-nostdin", "-v", "quiet", *input_options(path), *copied(tracks, source=0), "-t", "0.2"]
    with tempfile.NamedTemporaryFile() as tried:
        done = subprocess.run(
            [*command, "-f", FORMAT_OF_SUFFIX[suffix], "-y", f"file:{tried.name}"],
            stdin=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
            check=False,
        )
    return done.returncode == 0


def _named(track: Track) -> str:
    kind = _PLAIN.get(track.kind, track.kind.lower())
    return f"{kind} track {track.index + 1} ({track.codec})"
