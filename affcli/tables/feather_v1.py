"""Feather as it was before Arrow files (version 1): pyarrow reads it without checking anything.

A damaged file can end the process that reads it, so another one does, and leaves an Arrow file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from affcli.errors import TableError

_CONVERT: Final = (
    "import sys, pyarrow.feather as feather; "
    "feather.write_feather(feather.read_table(sys.argv[1], memory_map=False), sys.argv[2], compression='uncompressed')"
)
_LONGEST_S: Final = 600


def convert(path: Path, into: IO[bytes], name: str) -> Path:
    """The same table as an Arrow file, in `into`. Raises TableError for a damaged one; `name` is for the error."""
    target = Path(str(into.name))
    command = [sys.executable, "-W", "ignore", "-c", _CONVERT, str(path.absolute()), str(target)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired as error:
        raise TableError(f"{name}: damaged: reading it takes for ever.") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["it ended the process that read it"]
        raise TableError(f"{name}: damaged, or no Feather file of version 1: {reason[-1][:200]}.")
    return target
