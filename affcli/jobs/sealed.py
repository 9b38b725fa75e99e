"""Small JSON files of unfinished work that tell whether they are whole: a digest stands before the text.

It is of the file's name, too, so that one under another's name is not taken for it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

DIGEST_BYTES = 16


class DamagedError(Exception):
    """A file of unfinished work is not what was written."""


def write_sealed(path: Path, facts: Any) -> None:
    """Writes JSON; the file appears when it is complete. Not forced onto the disk: what a power failure damages is told
    by the digest. Raises OSError."""
    text = json.dumps(facts).encode()
    temporary, stream = create_part(path)
    try:
        with stream:
            stream.write(_digest(path, text) + b" " + text)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def read_sealed(path: Path) -> Any:
    """What was written; None where there is no file. Raises DamagedError."""
    try:
        digest, _, text = path.read_bytes().partition(b" ")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from error
    if _digest(path, text) != digest:
        raise DamagedError(str(path))
    return json.loads(text)


def create_part(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside `path` for what is not complete yet; `is_temporary` knows it."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    return temporary, os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb")


def _digest(path: Path, text: bytes) -> bytes:
    return blake2b(path.name.encode() + b"\0" + text, digest_size=DIGEST_BYTES).hexdigest().encode()
