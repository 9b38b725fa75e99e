"""What is said of an input that raised an exception, whichever: it never ends the batch."""

from __future__ import annotations

import logging
from pathlib import Path

from affcli.errors import AffcliError

log = logging.getLogger(__name__)


def failure_of(path: Path, error: Exception) -> str:
    """One line. Decoders of damaged files raise what they like (RuntimeError, NotImplementedError, MemoryError, …); the
    traceback is shown with -vv.
    """
    if isinstance(error, AffcliError | OSError):
        return str(error)
    log.debug("%s", path, exc_info=error)
    text = str(error).partition("\n")[0]
    return f"{path}: could not be decoded ({type(error).__name__}{f': {text}' if text else ''})"
