"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from affcli.tables import STANDARD_STREAM, refuse_existing, temporary_name

__all__ = ["refuse_existing", "temporary_name", "write_bytes", "write_text"]


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a whole file: a temporary name beside it, then a rename. A device or a pipe is written directly."""
    path = Path(path)
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(output: str, text: str, *, force: bool = False) -> None:
    """Writes UTF-8 to a file, not over an existing one unless told to, or to standard output (`-`)."""
    refuse_existing(output, force=force)
    if output == STANDARD_STREAM:
        sys.stdout.write(text)
    else:
        write_bytes(output, text.encode())
