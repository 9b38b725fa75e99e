"""Unfinished work, kept beside its output, so that it can be stopped at any moment and continue from there.

    V.parquet.parts/about.json        our mark: the version, the settings, the inputs of this job
    V.parquet.parts/workers/, claims/ who is at work, and on what (workers.py, claims.py)
    V.parquet.parts/ends/             what became of the inputs (ends.py)
    V.parquet.parts/<input>.<n>/      the work on an input under the n-th claim on it; named by a hash of the video id
        begun.json                    what the input was when the work on it began
        visual.1.parquet, .1.json     chunks: the rows of half a minute, and how to continue (chunks.py)
        visual.end.json               this stream of the input is done

A file appears under its name only when it is complete, and holds or has beside it a digest: what is damaged is done
again. Nothing but `about.json` is forced onto the disk (fsync costs more than a short clip).

Several processes may work on different inputs. Who claims an input that a process has left renames its folder first: a
process that was stopped and taken for gone then finds nowhere to write, and knows (LostError). `gate` is claimed by one
that takes stock, gathers or removes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa

from affcli.errors import BusyError, StorageError, listed
from affcli.files.inputs import MediaInput
from affcli.files.outputs import leftover_name
from affcli.jobs.about import ABOUT, FOLDERS, About, about_unfinished
from affcli.jobs.claims import Claims, LostError
from affcli.jobs.ends import End, Ends, Entry
from affcli.jobs.fingerprints import Fingerprints, Mark
from affcli.jobs.sealed import DamagedError, read_sealed, write_sealed
from affcli.jobs.stream_part import END, Part, PartWriter, finished_part, storage
from affcli.jobs.workers import SILENT_BEATS, State, Workers

log = logging.getLogger(__name__)

_BEGUN: Final = "begun.json"
_WORKERS, _CLAIMS, _ENDS = FOLDERS
_GATE: Final = "gate"
_OURS: Final = re.compile(r"(begun|\w+\.(end|\d+))\.json|\w+\.\d+\.parquet|\..+\.[0-9a-f]{16}\.tmp")
_OURS_IN: Final = {
    _WORKERS: re.compile(r"[0-9a-f]{16}|\..+\.tmp"),
    _CLAIMS: re.compile(r"(gate|[0-9a-f]{24})\.\d+|\..+\.tmp"),
    _ENDS: re.compile(r"[0-9a-f]{16}\.jsonl"),
}
_OURS_BESIDE: Final = re.compile(r"(about|status)\.json|\.(about|status)\.json\..+\.tmp")
_INPUT: Final = re.compile(r"[0-9a-f]{24}\.\d+")


class Parts:
    """The folder of unfinished work of one output, opened by one of the processes that make it; a context manager.

    From the moment that another process has taken over what this one works on, methods raise LostError.
    """

    def __init__(self, path: Path, fingerprints: Fingerprints, *, gathers_rows: bool = True) -> None:
        """Opens or makes the folder. Raises ForeignError, having changed nothing, for one that is not ours.

        Without `gathers_rows` an input's rows are needed only until it ends, and what takes little room and time is not
        written.
        """
        self.path, self._fingerprints, self._gathers_rows = path, fingerprints, gathers_rows
        self._beginning = threading.Lock()  # streams of an input may begin in several threads
        self._marks: dict[str, Mark] = {}  # of the inputs that this process works on
        self._held: dict[str, int] = {}  # its claims on them
        self._found: dict[str, dict[str, Part]] = {}  # by video and stream
        self._damaged: set[Path] = set()  # files that were told of
        self.first = False
        about_unfinished(path)
        self.workers = Workers(path / _WORKERS)
        self._claims = Claims(path / _CLAIMS, self.workers)
        self._ends = Ends(path / _ENDS, self.workers.token)
        with storage(path):
            self._open()

    def _open(self) -> None:
        for again in (True, True, False):  # another process may remove the folder meanwhile, since all is done
            try:
                for folder in (self.path, *(self.path / name for name in FOLDERS)):
                    folder.mkdir(exist_ok=True)
                self.workers.join()
                return
            except FileNotFoundError:
                if not (again and self.path.parent.is_dir()):
                    raise

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self.first and not self.workers.lost:
                with suppress(OSError, StorageError), self.alone():
                    if not (self.path / ABOUT).exists():  # nothing was begun
                        self.remove()
        finally:
            self.workers.leave()

    # --- the folder --------------------------------------------------------------------------------------------------

    def was_removed(self) -> bool:
        """Whether another process has removed the folder, since the output is complete."""
        return not (self.path / ABOUT).exists()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process begins a job here, takes stock of the work or gathers it meanwhile."""
        with storage(self.path):
            self._claims.wait_for(_GATE)
        try:
            self.refuse_lost()
            with storage(self.path):
                self._ends.refresh()
            yield
        finally:
            with storage(self.path):
                self._claims.free(_GATE)

    def refuse_lost(self) -> None:
        """Raises LostError where others go on with this process's work."""
        if self.workers.lost:
            raise LostError(f"{self.path}: another process has taken over.")

    def join(self) -> None:
        """Takes part in the job, from here to the end of the process; `first` says whether nobody else does yet."""
        self.first = not self.workers.others()

    def agree_on(self, about: About) -> bool:
        """Makes the folder that of this job; whether there is work in it to continue.

        The first process drops work that was made with other settings, with a note. Raises BusyError where others are
        at work in another way.
        """
        stored = about_unfinished(self.path)
        same = stored is not None and stored.settings == json.loads(json.dumps(about.settings))
        if same and stored is not None and stored.inputs == about.inputs and not self.first:
            return True
        # Without a stored state the others have not begun: all of them were started at the same moment.
        if not self.first and stored is not None and self._others_to_the_last():
            other = "on other inputs" if same else "with other settings"
            who = self.workers.others()
            named = f" ({who[0]})" if who else ""
            raise BusyError(f"{self.path}: another process is at work here {other}{named}. Wait until it has ended.")
        self.first = True
        if not same and self._has_work():
            log.warning("the unfinished work in %s was made with other settings; starting afresh.", self.path)
            self._drop_work()
        with storage(self.path):
            about.write(self.path)
        return self._has_work()

    def _others_to_the_last(self) -> bool:
        """Whether others are at work, for certain: one of which nothing is heard may be gone."""
        began = self.workers.beats
        while others := self.workers.others():
            if any(self.workers.is_sure(worker) for worker in others) or self.workers.beats - began > SILENT_BEATS:
                return True
            self.workers.wait_a_beat()
        return False

    def _has_work(self) -> bool:
        return bool(self._inputs(self.path)) or any(True for _ in self._ends.all())

    def _drop_work(self) -> None:
        for folder in self._inputs(self.path):
            _wipe(folder)
        _wipe(self.path / _ENDS, _OURS_IN[_ENDS])
        self._ends = Ends(self.path / _ENDS, self.workers.token)
        with storage(self.path):
            (self.path / _ENDS).mkdir(exist_ok=True)

    def remove(self) -> None:
        """Removes the work, and the folder where nothing else lies in it: for other processes, at one moment."""
        with os.scandir(self.path) as entries:
            foreign = [entry.name for entry in entries if not self._is_ours(entry.name)]
        folder = self.path
        if not foreign:
            folder = leftover_name(self.path)
            self.path.rename(folder)
        for path in self._inputs(folder):
            _wipe(path)
        for name in FOLDERS:
            _wipe(folder / name, _OURS_IN[name])
        _wipe(folder, _OURS_BESIDE)
        try:
            if folder.exists():
                folder.rmdir()
        except OSError as error:
            with suppress(OSError):
                folder.rename(self.path)
            what = listed(foreign) or error.strerror
            log.warning("%s: holds what affcli has not made (%s), so it stays.", self.path, what)

    def _is_ours(self, name: str) -> bool:
        return name in FOLDERS or bool(_INPUT.fullmatch(name) or _OURS_BESIDE.fullmatch(name))

    def _inputs(self, folder: Path) -> list[Path]:
        with os.scandir(folder) as entries:
            return [Path(e.path) for e in entries if _INPUT.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]

    # --- one input ---------------------------------------------------------------------------------------------------

    def take(self, item: MediaInput) -> bool:
        """Claims an input that is not done for this process; False where another one works on it."""
        key = _key(item.video)
        with storage(self.path):
            claim = self._claims.take(key)
            if claim is None:
                return False
            if claim:  # another process had it before
                self._ends.refresh()
                if self.ended(item) is not None:
                    self._claims.free(key)
                    return False
                self._inherit(key, claim)
            self._held[item.video] = claim
            self._ends.add(Entry(item.video, claim, None, datetime.now(timezone.utc).isoformat(timespec="seconds")))
        return True

    def holder(self, item: MediaInput) -> tuple[str | None, State]:
        """The token of the process that works on an input, and whether it does; GONE where nobody does."""
        return self._claims.holder(_key(item.video))

    def refresh(self) -> None:
        """Hears what others have told. Raises LostError as all methods do."""
        self.refuse_lost()
        with storage(self.path):
            self._ends.refresh()

    def any_ended(self, items: Sequence[MediaInput]) -> bool:
        """Whether any of the inputs is done by now."""
        self._ends.refresh()
        return any(self.ended(item) is not None for item in items)

    def release(self, item: MediaInput) -> None:
        """This process no longer works on it."""
        self._marks.pop(item.video, None)
        self._held.pop(item.video, None)

    def _inherit(self, key: str, claim: int) -> None:
        """What was kept under an older claim is used under this one, and only there."""
        for older in range(claim - 1, -1, -1):
            with suppress(FileNotFoundError):
                (self.path / f"{key}.{older}").rename(self.path / f"{key}.{claim}")
                return

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
        self.refuse_lost()
        folder, mark = self._folder(item.video), self.mark(item)
        with self._beginning:
            if self._begun(folder) != mark:
                _wipe(folder)
        if self._gathers_rows:
            with storage(self.path):
                self._make(folder, mark)
        if self.find(item, stream) is not None:
            return None
        if self._gathers_rows:
            return PartWriter(folder, stream, schema)
        done = partial(self._found.setdefault(item.video, {}).__setitem__, stream)
        return PartWriter(folder, stream, schema, begin=partial(self._make, folder, mark), done=done)

    def _make(self, folder: Path, mark: Mark) -> None:
        """The folder of an input, with what the input was when the work on it began."""
        with self._beginning:
            if self._begun(folder) != mark:
                folder.mkdir(exist_ok=True)
                write_sealed(folder / _BEGUN, mark._asdict())

    def find(self, item: MediaInput, stream: str) -> Part | None:
        """A stream of an input that is done and whole."""
        found = self._found.setdefault(item.video, {})
        if stream not in found:
            folder = self._folder(item.video)
            part = finished_part(folder, stream, self._read(folder / f"{stream}.{END}"))
            self.refuse_lost()  # else the folder may have moved while it was looked at
            if part is None:
                return None
            found[stream] = part
        return found[stream]

    def end(self, item: MediaInput, *, problem: str | None = None, failure: str | None = None, rows: bool) -> None:
        """What became of an input; its rows are kept if `rows` says so and it did not fail."""
        self.refuse_lost()
        mark = self._marks.get(item.video)
        with storage(self.path):
            end = End(mark and mark.fingerprint, problem, failure, mark and mark.identity)
            self._ends.add(Entry(item.video, self._held.get(item.video, 0), end))
        if not rows or failure is not None:
            self._found.pop(item.video, None)
            _wipe(self._folder(item.video))

    def ended(self, item: MediaInput) -> End | None:
        """What became of an input; None where it is not done, as far as this process has heard."""
        entry = self._ends.get(item.video)
        return None if entry is None else entry.end

    def entries(self) -> Iterator[tuple[Entry, str]]:
        """What is known of each input that was begun, with the token of the process that told it."""
        return self._ends.all()

    def is_of(self, item: MediaInput) -> bool:
        """Whether the work on an input that is done is on what the input is now."""
        end = self.ended(item)
        return end is not None and end.identity is not None and self._fingerprints.is_still(item, end.identity)

    def reopen(self, item: MediaInput) -> None:
        """An input that was done is not; what was kept of its rows is used."""
        self._found.pop(item.video, None)
        key = _key(item.video)
        with storage(self.path):
            claim = self._claims.take_from_anyone(key)
            self._inherit(key, claim)
            for path in (self.path / f"{key}.{claim}").glob(f"*.{END}"):
                path.unlink(missing_ok=True)
            self._ends.add(Entry(item.video, claim, None))
            self._claims.free(key)

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
        """Of the work under this process's claim, else under that which the input was done under."""
        entry = self._ends.get(video)
        claim = self._held.get(video, entry.claim if entry is not None else 0)
        return self.path / f"{_key(video)}.{claim}"


def _key(video: str) -> str:
    return blake2b(video.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _wipe(folder: Path, ours: re.Pattern[str] = _OURS) -> None:
    """Removes our files from a folder, and the folder where nothing is left in it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in list(entries):
            if ours.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
