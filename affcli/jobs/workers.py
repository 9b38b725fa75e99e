"""The processes that work in one folder, on one machine or on several that share a disk, and which of them are gone.

    workers/<token>    who it is (one line of JSON), and a counter that it raises every few seconds

The file appears with the process's first claim and goes when it ends in order. That a process has been killed is known
at once on its own machine, by its number and start. Elsewhere, and where it was stopped, only its counter tells, and
no clock is compared with another machine's: it is gone if the counter has stood still while the observer has raised its
own so many times. An observer that was stopped, or whose disk hung, has not raised its own either.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Final

from affcli.jobs.sealed import create_part

BEAT_S = 5.0
SILENT_BEATS: Final = 12  # of the observer's own, until it takes another process for gone
TOKEN_LENGTH: Final = 16
_DIGITS: Final = 12


class State(Enum):
    """Of a process, as far as this one can tell."""

    RUNNING = "running"  # on this machine
    UNSURE = "unsure"  # on another machine, or stopped: it is heard of by and by, or turns out to be gone
    GONE = "gone"


@dataclass(frozen=True)
class Worker:
    """Who a process is. `machine` tells machines, and what is apart on them, from each other; `since` is for people."""

    host: str
    machine: str
    pid: int
    started: str  # in the machine's own count: another process may get the number
    since: str

    @classmethod
    def here(cls) -> Worker:
        """This process."""
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(socket.gethostname(), _machine(), os.getpid(), _status_of(os.getpid())[1], since)

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"


class Workers:
    """This process among those that work in a folder, from `join` to `leave`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.token, self.me = os.urandom(TOKEN_LENGTH // 2).hex(), Worker.here()
        self.beats = 0  # this process's own: the only clock that there is
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="affcli-heartbeat", daemon=True)
        self._seen: dict[str, tuple[bytes, int]] = {}  # what an observed file held, and since which beat

    @property
    def _file(self) -> Path:
        return self._folder / self.token

    def join(self) -> None:
        """From now on others know of this process. Raises OSError."""
        temporary, stream = create_part(self._file)
        with stream:
            stream.write(json.dumps(asdict(self.me)).encode() + b"\n" + _counted(0))
        temporary.replace(self._file)
        self._heart.start()

    def leave(self) -> None:
        """What this process had claimed is free."""
        self._ended.set()
        if self._heart.is_alive():
            self._heart.join()
        with suppress(OSError):
            self._file.unlink()

    @property
    def lost(self) -> bool:
        """Whether others took this process for gone, or have removed the folder since all is done."""
        return not self._file.exists()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                # Opened and closed each time: this is when NFS writes, and looks whether the file is still there.
                descriptor = os.open(self._file, os.O_WRONLY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                size = os.fstat(descriptor).st_size
                os.pwrite(descriptor, _counted(self.beats + 1), max(0, size - _DIGITS))
                self.beats += 1
            except OSError:
                continue
            finally:
                os.close(descriptor)

    def wait_a_beat(self) -> None:
        """Returns after as long as a beat takes."""
        self._ended.wait(BEAT_S)

    # --- others ------------------------------------------------------------------------------------------------------

    def others(self) -> list[Worker]:
        """Those that are not gone, as far as this process can tell."""
        tokens = [token for token in self.tokens() if token != self.token]
        return [worker for token in tokens if self.state(token) is not State.GONE and (worker := self._read(token)[0])]

    def tokens(self) -> list[str]:
        """Of all that have a file, gone or not."""
        try:
            return sorted(filter(is_token, os.listdir(self._folder)))  # noqa: PTH208
        except FileNotFoundError:
            return []

    def state(self, token: str, *, judge: bool = True) -> State:
        """Of the process of that token. One that is found to be gone loses its file (`judge`), so that all know."""
        if token == self.token:
            return State.RUNNING
        worker, content = self._read(token)
        if content is None:
            return State.GONE
        state = State.UNSURE
        if worker is not None and worker.machine == self.me.machine:
            state = _state_of(worker)
        if state is State.UNSURE and self.is_silent(token, content):
            state = State.GONE
        if state is State.GONE and judge:
            with suppress(OSError):
                (self._folder / token).unlink()
        return state

    def is_sure(self, worker: Worker) -> bool:
        """Whether a process is at work for certain."""
        return worker.machine == self.me.machine and _state_of(worker) is State.RUNNING

    def is_silent(self, name: str, content: bytes) -> bool:
        """Whether a file, looked at now and then, has held the same for too long."""
        if self._seen.get(name, (b"", 0))[0] != content or name not in self._seen:
            self._seen[name] = (content, self.beats)
        return self.beats - self._seen[name][1] >= SILENT_BEATS

    def worker(self, token: str) -> Worker | None:
        """Who it is; None where that is not known any more."""
        return self._read(token)[0]

    def _read(self, token: str) -> tuple[Worker | None, bytes | None]:
        """Who it is, and the content of its file; None for what is not there or cannot be made out."""
        try:
            content = (self._folder / token).read_bytes()
        except OSError:
            return None, None
        try:
            return Worker(**json.loads(content.partition(b"\n")[0])), content
        except (ValueError, TypeError):
            return None, content


def is_token(name: str) -> bool:
    """Whether it is the name of a process's file."""
    return len(name) == TOKEN_LENGTH and set(name) <= set("0123456789abcdef")


def _counted(beats: int) -> bytes:
    return f"{beats:0{_DIGITS}d}".encode()


def _machine() -> str:
    """One boot of one machine, and one space of process numbers on it: containers may have several."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _state_of(worker: Worker) -> State:
    """Of a process on this machine."""
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return State.GONE
    except OSError:  # it is there, and another user's
        pass
    status, started = _status_of(worker.pid)
    if started and started != worker.started:
        return State.GONE
    return {"Z": State.GONE, "X": State.GONE, "T": State.UNSURE, "t": State.UNSURE, "": State.UNSURE}.get(
        status, State.RUNNING
    )


def _status_of(pid: int) -> tuple[str, str]:
    """A letter, and when the process has started; empty where the system does not tell (macOS)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""
