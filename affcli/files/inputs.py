"""Files, folders and lists of names → the media to work on, each with its video id, sorted by id.

A folder is searched in depth, in sorted order. One that holds numbered pictures (`00001.jpg`, …) and no media files is
one video's folder of already aligned faces, as in Aff-Wild2's `cropped_aligned/<video>/`; its name is the video's id.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from affcli.errors import AffcliError, UsageError, counted, listed
from affcli.files.shown_name import shown_name

log = logging.getLogger(__name__)

# fmt: off
VIDEO_SUFFIXES: Final = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".apng", ".asf", ".avi", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts",
    ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm",
    ".wmv",
))
SOUND_SUFFIXES: Final = frozenset((
    ".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".ogg", ".opus",
    ".sph", ".wav", ".wma",
))
PICTURE_SUFFIXES: Final = frozenset((
    ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
))
# fmt: on
_JUNK: Final = frozenset({"__MACOSX", "@eaDir"})
_DIGEST_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class MediaInput:
    """One video: a media file, or a folder of numbered pictures. `video` is its id in every table."""

    video: str
    path: Path
    kind: Literal["file", "pictures"]


def find_inputs(
    names: Sequence[str | Path],
    *,
    ids: Literal["stem", "path"] = "stem",
    suffixes: Collection[str] = VIDEO_SUFFIXES,
    pictures: bool = True,
    by_name_only: Collection[str] = (),
) -> list[MediaInput]:
    """The media that the names stand for, sorted by video id.

    A file is taken whatever its suffix. A folder gives its files with one of the `suffixes`, at any depth, and, with
    `pictures`, every folder of numbered pictures in it. With `ids="path"` an id is the path without its suffix,
    relative to the folder that was given. The same file named twice is taken once. What lies in folders and has one of
    the suffixes `by_name_only` is not taken; a note says so of what would be an input of its own.

    A name that does not exist is an input that will fail, alone. Raises AffcliError where none of them exists, for a
    folder with nothing in it, and for two inputs with one id.
    """
    _refuse_nothing(names)
    found: dict[tuple[Path, str], MediaInput] = {}
    left = _Left(by_name_only)
    for name in names:
        for item in _inputs_of(name, ids, suffixes, pictures, left):
            found.setdefault((_real(item.path), item.video), item)
    inputs = sorted(found.values(), key=lambda item: item.video)
    _check_ids(inputs, ids)
    left.note(inputs)
    return inputs


def read_names(list_file: str | Path, *, nul: bool = False) -> list[str]:
    """The names in a list, one a line (`nul`: each ended by a NUL byte, as `find -print0` writes); `-` is stdin."""
    if str(list_file) == "-":
        data = sys.stdin.buffer.read()
    else:
        try:
            data = Path(list_file).read_bytes()
        except OSError as error:
            raise AffcliError(f"{list_file}: {error.strerror}") from error
    lines = data.split(b"\0") if nul else data.splitlines()
    names = [os.fsdecode(line) for line in lines if line]
    if not names:
        raise AffcliError(f"{'standard input' if str(list_file) == '-' else list_file}: the list holds no names")
    return names


def digest(item: MediaInput) -> str:
    """A fingerprint of the content: of all bytes of a file, of the names and sizes in a folder of pictures.

    Raises AffcliError for what cannot be read.
    """
    state = blake2b(digest_size=16)
    try:
        if item.kind == "file" and item.path.exists() and not item.path.is_file():
            raise AffcliError(f"{item.path}: not a regular file")
        if item.kind == "pictures":
            for number, path in numbered_pictures(item.path).items():
                state.update(f"{number} {path.name} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        else:
            with item.path.open("rb") as file:
                while block := file.read(_DIGEST_BLOCK):
                    state.update(block)
    except OSError as error:
        raise AffcliError(f"{error.filename or item.path}: {error.strerror}") from error
    return state.hexdigest()


def identity(item: MediaInput) -> str:
    """What changes when the content does, told without reading it: sizes and times of change.

    Raises AffcliError for what is not there.
    """
    try:
        if item.kind == "file":
            status = item.path.stat()
            return f"{status.st_size} {status.st_mtime_ns}"
        entries = [(name, path.stat()) for name, path in numbered_pictures(item.path).items()]
        changed = max((status.st_mtime_ns for _, status in entries), default=0)
        return f"{len(entries)} {sum(status.st_size for _, status in entries)} {changed}"
    except OSError as error:
        raise AffcliError(f"{error.filename or item.path}: {error.strerror}") from error


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """Frame number → picture, in order of number; pictures whose names are not numbers are passed over.

    Raises AffcliError for two pictures of one number, and for a number that no frame can have.
    """
    pictures: dict[int, Path] = {}
    for name in filter(_is_numbered, _listing(folder)[1]):
        number = int(_split(name)[0])
        if number in pictures:
            raise AffcliError(f"{folder}: two pictures of frame {number}: {pictures[number].name} and {name}")
        pictures[number] = folder / name
    if pictures and not 1 <= min(pictures) <= max(pictures) < 2**31:
        wrong = pictures[min(pictures)] if min(pictures) < 1 else pictures[max(pictures)]
        raise AffcliError(f"{wrong}: frames are numbered from 1 (00001.jpg), so no frame has this number; rename")
    return dict(sorted(pictures.items()))


class _Left:
    """Files in folders that are inputs only where they are named themselves."""

    def __init__(self, suffixes: Collection[str]) -> None:
        self._suffixes, self.files = suffixes, list[Path]()

    def look(self, folder: Path, names: Sequence[str]) -> None:
        """Keeps those of a folder's files."""
        self.files += [folder / name for name in names if _split(name)[1] in self._suffixes]

    def note(self, inputs: Sequence[MediaInput]) -> None:
        """Tells of those that do not lie beside an input of their name, as its sound does."""
        taken = {_split(str(item.path))[0] for item in inputs} if self.files else set()
        if left := [file for file in map(str, self.files) if _split(file)[0] not in taken]:
            what = f"{counted(len(left), 'audio file')} in folders"
            log.warning("left out %s, which are taken only if named themselves: %s.", what, listed(left, limit=3))


def _inputs_of(
    name: str | Path, ids: str, suffixes: Collection[str], pictures: bool, left: _Left
) -> Iterator[MediaInput]:
    path = Path(name)
    if not _is_folder(name):
        yield MediaInput(shown_name(path.stem if ids == "stem" else _without_suffix(path)), path, "file")
        return
    nothing = True
    for kind, found in _search(path, suffixes, pictures, seen=set(), left=left):
        nothing = False
        yield MediaInput(_id_in(path, found, kind, ids), found, kind)
    if nothing:
        looked_for = [f"files named {_shown(suffixes)}"] if suffixes else []
        looked_for += ["folders of numbered pictures (00001.jpg)"] if pictures else []
        named = f". Name audio files themselves: {left.files[0]}" if left.files else ""
        raise AffcliError(f"{path}: no media in this folder; looked for {' or '.join(looked_for)}{named}")


def _refuse_nothing(names: Sequence[str | Path]) -> None:
    """Raises AffcliError where none of the names exists: a wrong folder is told before anything is loaded."""
    if names and not any(map(_exists, names)):
        address = " (addresses are not read: download it first)" if "://" in str(names[0]) else ""
        raise AffcliError(f"{listed(names)}: no such file or folder{address}")


def _exists(name: str | Path) -> bool:
    """Also of what may not be looked at."""
    try:
        return Path(name).exists()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG


def _is_folder(name: str | Path) -> bool:
    """What is not there or may not be looked at is taken for a file: it will fail, alone."""
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def _search(
    folder: Path, suffixes: Collection[str], pictures: bool, seen: set[tuple[int, int]], left: _Left
) -> Iterator[tuple[Literal["file", "pictures"], Path]]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # a symbolic link that leads back
            return
        seen.add((status.st_dev, status.st_ino))
        folders, files = _listing(folder)
    except (AffcliError, PermissionError):  # it is an input that will fail, alone
        yield "pictures", folder
        return
    left.look(folder, files)
    media = [name for name in files if _split(name)[1] in suffixes]
    if pictures and any(_is_numbered(name) and name not in media for name in files):
        media = [name for name in media if not _is_numbered(name)]  # a GIF among numbered pictures is one of them
    if pictures and not media and any(map(_is_numbered, files)):
        yield "pictures", folder
    for name in media:
        yield "file", folder / name
    for name in folders:
        yield from _search(folder / name, suffixes, pictures, seen, left)


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders and of the other entries in a folder, sorted, without junk."""
    names: tuple[list[str], list[str]] = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not (entry.name.startswith(".") or entry.name in _JUNK):
                    names[0 if _leads_to_folder(entry) else 1].append(entry.name)
    except OSError as error:
        raise AffcliError(f"{folder}: {error.strerror}") from error
    return sorted(names[0]), sorted(names[1])


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads nowhere or in a circle is taken for a file: it will fail, alone."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _real(path: Path) -> Path:
    """Where the links of a name lead; the name itself where they lead in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # the latter for circles, up to Python 3.12
        return path.absolute()


def _is_numbered(name: str) -> bool:
    stem, suffix = _split(name)
    return suffix in PICTURE_SUFFIXES and stem.isascii() and stem.isdigit()


def _split(name: str) -> tuple[str, str]:
    """The stem and the suffix in small letters. Not by Path: there may be a million names."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - for speed
    return stem, suffix.lower()


def _id_in(given: Path, found: Path, kind: str, ids: str) -> str:
    if found == given:  # one video's folder itself, perhaps given as `.`
        return shown_name(given.resolve().name)
    inside = found.relative_to(given) if ids == "path" else Path(found.name)
    return shown_name(inside.as_posix() if kind == "pictures" else _without_suffix(inside))


def _without_suffix(path: Path) -> str:
    return Path(os.path.normpath(path)).with_suffix("").as_posix()


def _shown(suffixes: Collection[str]) -> str:
    return listed(sorted(f"*{suffix}" for suffix in suffixes), limit=40)


def _check_ids(inputs: Sequence[MediaInput], ids: str) -> None:
    for one, other in pairwise(inputs):
        if one.video == other.video:
            raise UsageError(f"{one.path} and {other.path} have one id, '{one.video}': {_way_to_tell(one, other, ids)}")


def _way_to_tell(one: MediaInput, other: MediaInput, ids: str) -> str:
    """How the user can give two inputs two ids."""
    if one.path.with_suffix("") == other.path.with_suffix(""):
        return "they differ in nothing but the suffix; rename one, or name only one of them"
    return "name them by path with --names path" if ids == "stem" else "give the folder that holds both"
