"""Pipes whose bytes are wanted whole, and are few: one thread takes them as they come, so that ffmpeg never waits."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Sequence
from typing import Final

_BLOCK: Final = 1 << 16


class Collected:
    """What comes out of several pipes, at most `limit` bytes of it; what is beyond is read, and thrown away."""

    def __init__(self, ends: Sequence[int], limit: int) -> None:
        self._content: dict[int, bytearray] = {end: bytearray() for end in ends}
        self._left = limit
        self._thread = threading.Thread(target=self._read, name="affcli-beside", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            for end in self._content:
                selector.register(end, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, _BLOCK)
                    if not data:
                        selector.unregister(key.fd)
                    self._left -= len(data)
                    if self._left >= 0:
                        self._content[key.fd] += data

    def wait(self) -> tuple[bytes, ...] | None:
        """All of it, when the pipes have ended; None where it was too much."""
        self._thread.join()
        return tuple(map(bytes, self._content.values())) if self._left >= 0 else None

    def close(self) -> None:
        """ffmpeg has ended, and the pipes with it; harmless when repeated."""
        self._thread.join()
        while self._content:
            os.close(self._content.popitem()[0])
