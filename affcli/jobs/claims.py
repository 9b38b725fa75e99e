"""Claims on things by name, each of which one process has at a time.

    claims/<name>.<n>    the n-th claim on it: the token of the process whose it is (workers.py), or `free`

A claim is made by creating a file that is not there yet (O_EXCL), which one of several processes can do. The largest n
counts; a claim is followed by the next one when its process is gone. Numbers never come back, so what was made under an
older claim is told by the number (parts.py). A claim only saves work: nothing would be wrong in an output if two had
the same one.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from affcli.errors import StorageError
from affcli.jobs.sealed import create_part
from affcli.jobs.workers import TOKEN_LENGTH, State, Workers, is_token

log = logging.getLogger(__name__)

_FREE: Final = "free"


class LostError(StorageError):
    """This process was taken for gone, and others go on with its work; or all is done and the folder is removed."""


class Claims:
    """The claims in a folder; `workers` tells whose are void."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self._folder, self._workers = folder, workers
        self._last: dict[str, int] = {}  # a claim that is known to be there

    def take(self, name: str) -> int | None:
        """The number of this process's claim; None where another process has it."""
        while True:
            number = self._last.get(name, 0)
            if self._create(name, number):
                return number
            holder = self._holder(name, number)
            if holder == self._workers.token:
                return number
            if holder is None or self._state(name, number, holder) is not State.GONE:
                return None
            self._last[name] = number + 1

    def take_from_anyone(self, name: str) -> int:
        """A new claim, for what nobody can be at work on."""
        while not self._create(name, self._last.get(name, 0)):
            self._last[name] = self._last.get(name, 0) + 1
        return self._last[name]

    def free(self, name: str) -> None:
        """Others can take it. Raises nothing where the folder was removed meanwhile."""
        with suppress(FileNotFoundError):
            path = self._path(name, self._last[name])
            temporary, stream = create_part(path)
            with stream:
                stream.write(_FREE.encode())
            temporary.replace(path)

    def wait_for(self, name: str) -> None:
        """Takes it as soon as it can be had. Raises LostError where there is nothing to wait for."""
        pause, waited, began, told = threading.Event(), 0.001, self._workers.beats, False
        while self.take(name) is None:
            if self._workers.lost:
                raise LostError(f"{self._folder.parent}: was completed by another process.")
            if not told and self._workers.beats > began + 1:
                log.warning("%s: waiting for another process, which takes stock of the work.", self._folder.parent)
                told = True
            pause.wait(waited)
            waited = min(2 * waited, 0.2)

    def holder(self, name: str) -> tuple[str | None, State]:
        """The token of the process that has it, as far as this one knows; GONE where it can be taken."""
        number = self._last.get(name, 0)
        holder = self._holder(name, number)
        return holder, State.GONE if holder is None else self._state(name, number, holder)

    def _create(self, name: str, number: int) -> bool:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(self._path(name, number), flags, 0o666)
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise LostError(f"{self._folder.parent}: was completed by another process.") from error
        try:
            os.write(descriptor, self._workers.token.encode())
        finally:
            os.close(descriptor)
        self._last[name] = number
        return True

    def _holder(self, name: str, number: int) -> str | None:
        try:
            return self._path(name, number).read_bytes().decode("ascii", "replace")
        except OSError:
            return None

    def _state(self, name: str, number: int, holder: str) -> State:
        if is_token(holder):
            return self._workers.state(holder)
        if holder == _FREE or not _may_become_a_claim(holder):
            return State.GONE
        # Not written yet, or never: its process may have died in between.
        silent = self._workers.is_silent(f"{name}.{number}", holder.encode())
        return State.GONE if silent else State.UNSURE

    def _path(self, name: str, number: int) -> Path:
        return self._folder / f"{name}.{number}"


def _may_become_a_claim(content: str) -> bool:
    """Whether more is yet to be written to it; else the file is damaged, and nobody's."""
    return _FREE.startswith(content) or is_token(content.ljust(TOKEN_LENGTH, "0"))
