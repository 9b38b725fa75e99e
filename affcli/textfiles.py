"""Writes texts as tables are written: complete or not at all, and never over an existing file unless told to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from affcli.tables import STANDARD_STREAM, refuse_existing, temporary_name


def write_text(output: str, text: str, *, force: bool = False) -> None:
    """Writes UTF-8 to a file, which appears only when complete, or to standard output (`-`)."""
    refuse_existing(output, force=force)
    path = Path(output)
    if output == STANDARD_STREAM:
        sys.stdout.write(text)
    elif path.exists() and not path.is_file():  # a named pipe or a device has no name to rename to
        path.write_text(text, encoding="utf-8", newline="\n")
    else:
        _replace(path, text)


def _replace(path: Path, text: str) -> None:
    temporary = temporary_name(path)
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
