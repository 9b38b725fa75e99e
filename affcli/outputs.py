"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path

from affcli.errors import AffcliError

STANDARD_STREAM = "-"
# Other names of standard output. It is written through Python's own stream: opened by name, a file that it is
# redirected to would be cut off, and would look like an output that exists already.
STANDARD_OUTPUT = {STANDARD_STREAM, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


def refuse_existing(output: str, *, force: bool) -> None:
    """Raises where an output cannot be written or may not be replaced, before any work is done."""
    if output in STANDARD_OUTPUT:
        return
    path = Path(output)
    if not output or path.is_dir():
        raise AffcliError(f"{output or 'the empty name'}: is a folder; name a file.")
    if not path.parent.is_dir():
        raise AffcliError(f"{output}: the folder {path.parent} does not exist.")
    if path.is_file() and not force:
        raise AffcliError(f"{output}: exists already. Replace it with --force.")


def temporary_name(path: Path) -> Path:
    """A name beside `path` for what is not complete yet."""
    return path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")


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


def remove_leftovers(output: str) -> None:
    """Removes what a process that was killed while it wrote this output has left beside it."""
    path = Path(output).resolve()
    own = temporary_name(path).name
    for left in path.parent.glob(f"{glob.escape(own.removesuffix(f'{os.getpid()}.tmp'))}[0-9]*.tmp"):
        left.unlink(missing_ok=True)


def write_text(output: str, text: str, *, force: bool = False) -> None:
    """Writes UTF-8 to a file, not over an existing one unless told to, or to standard output (`-`)."""
    refuse_existing(output, force=force)
    if output == STANDARD_STREAM:
        sys.stdout.write(text)
    else:
        write_bytes(output, text.encode())
