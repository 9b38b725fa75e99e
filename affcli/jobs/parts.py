"""Unfinished work, kept beside its output, so that it can be stopped at any moment and continue from there.

    V.parquet.parts/about.json       our mark: the version, the settings, the inputs of this job
    V.parquet.parts/lock             nothing; ranges of it are locked (below)
    V.parquet.parts/<input>/         named by a hash of the video id
        begun.json                   what the input was when the work on it began
        visual.1.parquet, .1.json    chunks: the rows of half a minute, and how to continue (chunks.py)
        visual.end.json              this stream of the input is done
        end.json                     the input is done: what is wrong with it, or why it gives nothing

A file appears under its name only when it is complete, and holds or has beside it a digest: what is damaged is done
again. Nothing but `about.json` is forced onto the disk (fsync costs more than a short clip).

Several processes may work on different inputs. Each input is locked by the process that works on it; `folder` by one
that takes stock, gathers or removes; `job` by all that are at work, so that the first of them knows that it is alone.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa

from affcli import __version__
from affcli.errors import BusyError, ForeignError
from affcli.files.inputs import MediaInput
from affcli.jobs.fingerprints import Fingerprints, Mark
from affcli.jobs.locks import Locks
from affcli.jobs.sealed import DamagedError, read_sealed, write_sealed
from affcli.jobs.stream_part import END, Part, PartWriter, finished_part, storage

log = logging.getLogger(__name__)

_ABOUT, _LOCK, _BEGUN, _SETTINGS_0_1 = "about.json", "lock", "begun.json", "settings.json"
_FORMAT: Final = 2  # of the folder; version 0.1.0 had another one
_OURS: Final = re.compile(r"(begun|end|\w+\.(end|\d+))\.json|\w+\.\d+\.parquet|\..+\.[0-9a-f]{16}\.tmp")
_INPUT: Final = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True)
class About:
    """What the processes of one job agree on. `inputs` is a digest of their ids and of how they are treated.

    `forced`: what stood under the output's name before this job is not used (--force).
    """

    settings: Mapping[str, Any]
    inputs: str
    forced: bool


@dataclass(frozen=True)
class End:
    """What became of an input. `fingerprint` is that of its content; None where it could not be read."""

    fingerprint: str | None = None
    problem: str | None = None  # why rows may be missing, in one line
    failure: str | None = None  # why there are none


class Parts:
    """The folder of unfinished work of one output, opened by one of the processes that make it; a context manager."""

    def __init__(self, path: Path, fingerprints: Fingerprints) -> None:
        """Opens or makes the folder. Raises ForeignError, having changed nothing, for one that is not ours."""
        self.path, self._fingerprints = path, fingerprints
        self._marks: dict[str, Mark] = {}  # of the inputs that this process works on
        self._found: dict[str, dict[str, Part]] = {}  # by video and stream
        self._damaged: set[Path] = set()  # files that were told of
        self.first = False
        about_unfinished(path)
        with storage(path):
            path.mkdir(exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(path / _LOCK, flags, 0o666), "r+b")
        self._locks = Locks(self._file)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.first:
            with suppress(OSError), self.alone():
                if not self.was_removed() and not (self.path / _ABOUT).exists():  # nothing was begun
                    self.remove()
        self._file.close()

    # --- the folder --------------------------------------------------------------------------------------------------

    def was_removed(self) -> bool:
        """Whether another process has removed the folder, since the output is complete."""
        try:
            return (self.path / _LOCK).lstat().st_ino != os.fstat(self._file.fileno()).st_ino
        except OSError:
            return True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process begins a job here, takes stock of the work or gathers it meanwhile."""
        self._locks.take("folder", wait=True)
        try:
            yield
        finally:
            self._locks.release("folder")

    def join(self) -> None:
        """Takes part in the job, from here to the end of the process; `first` says whether nobody else does yet."""
        self.first = self._locks.take("job")

    def agree_on(self, about: About) -> bool:
        """Makes the folder that of this job; whether there is work in it to continue.

        The first process drops work that was made with other settings, with a note. Raises BusyError where others are
        at work in another way.
        """
        stored = about_unfinished(self.path)
        same = stored is not None and stored.settings == json.loads(json.dumps(about.settings))
        if not self.first:
            if stored is None or not same or stored.inputs != about.inputs:
                other = "on other inputs" if same else "with other settings"
                raise BusyError(f"{self.path}: another process is at work here {other}. Wait until it has ended.")
            self._locks.take("job", shared=True)
            return True
        if not same and self._inputs():
            log.warning("the unfinished work in %s was made with other settings; starting afresh.", self.path)
            for folder in self._inputs():
                _wipe(folder)
        with storage(self.path):
            mark = {"affcli": "unfinished work", "version": __version__, "format": _FORMAT, **asdict(about)}
            write_sealed(self.path / _ABOUT, mark)
        self._locks.take("job", shared=True)
        return bool(self._inputs())

    def remove(self) -> None:
        """Removes the work, and the folder where nothing else lies in it."""
        for folder in self._inputs():
            _wipe(folder)
        for name in (_ABOUT, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        for left in self.path.glob(f".{_ABOUT}.*.tmp"):
            left.unlink(missing_ok=True)
        try:
            self.path.rmdir()
        except OSError as error:
            log.warning("%s: holds what affcli has not made, so it stays (%s).", self.path, error.strerror)

    def _inputs(self) -> list[Path]:
        with os.scandir(self.path) as entries:
            return [Path(e.path) for e in entries if _INPUT.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]

    # --- one input ---------------------------------------------------------------------------------------------------

    def take(self, item: MediaInput) -> bool:
        """Locks an input for this process; False where another one works on it."""
        return self._locks.take(f"input {item.video}")

    def release(self, item: MediaInput) -> None:
        """This process no longer works on it."""
        self._marks.pop(item.video, None)
        self._locks.release(f"input {item.video}")

    def mark(self, item: MediaInput) -> Mark:
        """What the input was when this process began to work on it. Raises AffcliError where it cannot be read."""
        if item.video not in self._marks:
            self._marks[item.video] = self._fingerprints.mark(item)
        return self._marks[item.video]

    def has_changed(self, item: MediaInput) -> bool:
        """Whether the input has changed since then. One that is gone was read to its end."""
        return not self._fingerprints.is_still(item, self.mark(item).identity)

    def begin(self, item: MediaInput, stream: str, schema: pa.Schema) -> PartWriter | None:
        """Where a stream's rows go; None where it is done. What was kept of another state of the input is dropped.

        Raises AffcliError for an input that cannot be read.
        """
        folder, mark = self._folder(item.video), self.mark(item)
        if self._begun(folder) != mark:
            _wipe(folder)
            with storage(self.path):
                folder.mkdir(exist_ok=True)
                write_sealed(folder / _BEGUN, mark._asdict())
        return PartWriter(folder, stream, schema) if self.find(item, stream) is None else None

    def find(self, item: MediaInput, stream: str) -> Part | None:
        """A stream of an input that is done and whole."""
        found = self._found.setdefault(item.video, {})
        if stream not in found:
            folder = self._folder(item.video)
            part = finished_part(folder, stream, self._read(folder / f"{stream}.{END}"))
            if part is None:
                return None
            found[stream] = part
        return found[stream]

    def end(self, item: MediaInput, *, problem: str | None = None, failure: str | None = None, rows: bool) -> None:
        """What became of an input; its rows are kept if `rows` says so and it did not fail."""
        folder = self._folder(item.video)
        mark = self._marks.get(item.video)
        with storage(self.path):
            folder.mkdir(exist_ok=True)
            end = End(None if mark is None else mark.fingerprint, problem, failure)
            write_sealed(folder / END, asdict(end))
        if not rows or failure is not None:
            self._found.pop(item.video, None)
            _wipe(folder, but=(_BEGUN, END))

    def ended(self, item: MediaInput) -> End | None:
        """What became of an input; None where it is not done."""
        end = self._read(self._folder(item.video) / END)
        return None if end is None else End(**end)

    def is_of(self, item: MediaInput) -> bool:
        """Whether the work on an input is on what the input is now."""
        begun = self._begun(self._folder(item.video))
        return begun is not None and self._fingerprints.is_still(item, begun.identity)

    def reopen(self, item: MediaInput) -> None:
        """The input is not done; what was kept of its rows is used."""
        folder = self._folder(item.video)
        self._found.pop(item.video, None)
        for path in (folder / END, *folder.glob(f"*.{END}")):
            path.unlink(missing_ok=True)

    def _begun(self, folder: Path) -> Mark | None:
        begun = self._read(folder / _BEGUN)
        return None if begun is None else Mark(**begun)

    def _read(self, path: Path) -> Any:
        try:
            return read_sealed(path)
        except DamagedError:
            if path not in self._damaged:
                self._damaged.add(path)
                log.warning("%s: unfinished work is damaged; it is done again.", path)
            return None

    def _folder(self, video: str) -> Path:
        return self.path / blake2b(video.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def about_unfinished(path: Path) -> About | None:
    """What the unfinished work in a folder is of; None where there is none.

    Raises ForeignError for a folder that is not ours, or is of another version, which is named.
    """
    if path.is_symlink():
        raise ForeignError(f"{path}: is a symbolic link, where affcli keeps unfinished work. Move it out of the way.")
    if not path.is_dir():
        return None
    names = {entry.name for entry in path.iterdir()}
    if _ABOUT not in names:
        _refuse_strangers(path, names)
        return None
    try:
        found = read_sealed(path / _ABOUT)
    except DamagedError as error:
        raise ForeignError(f"{path}: its {_ABOUT} is damaged or none of affcli's. Remove the folder.") from error
    if found is None:  # removed meanwhile
        return None
    if found["format"] != _FORMAT:
        raise ForeignError(f"{path}: holds unfinished work of affcli {found['version']}. {_HOW_TO_GO_ON}")
    return About(found["settings"], found["inputs"], found["forced"])


_HOW_TO_GO_ON: Final = "Finish it with that version, or remove the folder."


def _refuse_strangers(path: Path, names: set[str]) -> None:
    """Raises for a folder without our mark, unless it is empty or its making was cut short."""
    if {_SETTINGS_0_1, _LOCK} <= names:
        raise ForeignError(f"{path}: holds unfinished work of affcli 0.1.0. {_HOW_TO_GO_ON}")
    if strangers := sorted(name for name in names if name != _LOCK and not name.startswith(f".{_ABOUT}.")):
        raise ForeignError(
            f"{path}: is not a folder of affcli's (it holds {strangers[0]}), and unfinished work would be kept there. "
            "Move it out of the way."
        )


def _wipe(folder: Path, *, but: Sequence[str] = ()) -> None:
    """Removes our files from the folder of one input, and the folder where nothing is left in it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.name not in but and _OURS.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
