"""Locks between processes, by name, on one open file: parts.py takes one for each input that it works on.

Each name stands for a byte of the file that is locked (POSIX record locks, which NFS knows too). The system frees
them when the process ends, however it ends. They hold between processes, not between threads of one.
"""

from __future__ import annotations

import fcntl
import logging
from hashlib import blake2b
from typing import IO

log = logging.getLogger(__name__)


class Locks:
    """The locks that this process has on one file, which it must open only once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def take(self, name: str, *, shared: bool = False, wait: bool = False) -> bool:
        """False where another process has it. True also on file systems without locks."""
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.lockf(self._file, how if wait else how | fcntl.LOCK_NB, 1, _byte_of(name))
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            log.info("%s: no locks here (%s)", self._file.name, error.strerror)
        return True

    def release(self, name: str) -> None:
        """Others can take it again."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte_of(name))
        except OSError as error:
            log.info("%s: no locks here (%s)", self._file.name, error.strerror)


def _byte_of(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 2
