"""Feather as it was before Arrow files (version 1): pyarrow reads it without checking anything.

A damaged file can end the process that reads it, so another one does, and leaves an Arrow file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from affcli.errors import TableError

# It holds nothing compressed: more than the file itself has come from elsewhere in memory.
_CONVERT: Final = """
import os, resource, sys, pyarrow.feather as feather
if sys.platform == "linux":
    used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    most = used + 8 * os.path.getsize(sys.argv[1]) + (256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
table = feather.read_table(sys.argv[1], memory_map=False)
table.validate(full=True)
size = os.path.getsize(sys.argv[1])
if sum(len(name) for name in table.column_names) + table.nbytes > 2 * size:
    sys.exit("it tells of more than it has")
feather.write_feather(table, sys.argv[2], compression="uncompressed")
"""
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
        lines = done.stderr.decode(errors="replace").strip().splitlines() if done.returncode > 0 else []
        reason = lines[-1][:200] if lines else "it ended the process that read it"
        raise TableError(f"{name}: damaged, or no Feather file of version 1: {reason}.")
    return target
