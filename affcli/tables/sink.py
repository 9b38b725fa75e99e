"""What pyarrow writes a table's bytes into."""

from __future__ import annotations

from typing import IO


class Sink:
    """A file for pyarrow that needs no seeking: a pipe cannot tell its position, so the bytes are counted."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self._position = stream, 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """Writes all of it; how many bytes those are."""
        self.stream.write(data)
        return self.counted(data)

    def counted(self, data: bytes) -> int:
        """Counts bytes as written."""
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        """How many bytes were written."""
        return self._position

    def flush(self) -> None:
        """Passes on what the stream holds back."""
        self.stream.flush()

    def close(self) -> None:
        """The stream is closed by whoever opened it."""
        self.closed = True

    def readable(self) -> bool:
        """Never."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Never."""
        return False
