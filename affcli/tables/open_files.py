"""Keeps the files of few tables open at once, however many tables are: the rest are opened again when they are read."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import LifoQueue
from typing import Final, Literal

from affcli.errors import TableError
from affcli.tables.pieces import Pieces

MOST_OPEN: Final = 64  # tables; each may hold two files open, and the usual limit of a process is 1,024

_Marker = Literal["closed", "resting"]
_lock = threading.RLock()
_open: OrderedDict[int, weakref.ref[PiecesPool]] = OrderedDict()  # the last one used at the end


class PiecesPool:
    """The readers of one file, for as many threads as there are readers.

    `schema` and `row_groups` are those of the file when it was first opened.
    """

    def __init__(self, name: str, opener: Callable[[ExitStack], list[Pieces]]) -> None:
        """`opener` opens the file, once for each reader, and hands what is to be closed to the stack it gets."""
        self._name, self._opener = name, opener
        self._files = ExitStack()
        self._idle: LifoQueue[Pieces | _Marker] = LifoQueue()
        self._resting = False
        pieces = self._opened()
        self.schema, self.row_groups = pieces[0].schema, pieces[0].row_groups
        self._fill(pieces)

    @contextmanager
    def borrowed(self) -> Iterator[Pieces]:
        """A reader that no other thread uses; waits for one. Raises TableError where the table is closed."""
        pieces = self._taken()
        try:
            yield pieces
        finally:
            self._idle.put(pieces)

    def _taken(self) -> Pieces:
        while True:
            found = self._idle.get()
            if not isinstance(found, str):
                if _lock.acquire(blocking=False):  # only an order of use: not worth waiting for
                    with suppress(KeyError):
                        _open.move_to_end(id(self))
                    _lock.release()
                return found
            self._idle.put(found)
            if found == "closed":
                raise TableError(f"{self._name}: is closed.")
            with _lock:
                self._wake()

    def _opened(self) -> list[Pieces]:
        try:
            return self._opener(self._files)
        except BaseException:
            self._files.close()
            raise

    def _fill(self, pieces: list[Pieces]) -> None:
        self._readers = len(pieces)
        for one in pieces:
            self._idle.put(one)
        with _lock:
            _open[id(self)] = weakref.ref(self)
            while len(_open) > MOST_OPEN:
                _, oldest = _open.popitem(last=False)
                pool = oldest()
                if pool is not None:
                    pool._rest("resting")

    def _wake(self) -> None:
        """Opens the file again, if no other thread has; with the lock held."""
        if not self._resting:
            return
        pieces = self._opened()
        if pieces[0].row_groups != self.row_groups or not pieces[0].schema.equals(self.schema):
            self._files.close()
            raise TableError(f"{self._name}: has changed while it was being read.")
        self._resting = False
        self._idle.get()  # the marker
        self._fill(pieces)

    def _rest(self, marker: _Marker) -> None:
        """Closes the files, when what is being read has been read."""
        for _ in range(self._readers):
            self._idle.get()
        self._readers, self._resting = 1, marker == "resting"
        self._idle.put(marker)
        self._files.close()
        self._files = ExitStack()

    def close(self) -> None:
        """Closes the files for good."""
        with _lock:
            _open.pop(id(self), None)
        self._rest("closed")
