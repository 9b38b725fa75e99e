"""What is said of an input that raised an exception, whichever: it never ends the batch."""

from __future__ import annotations

import logging
from pathlib import Path

from affcli.errors import AffcliError, InstallationError, not_installed

log = logging.getLogger(__name__)


def failure_of(path: Path, error: Exception) -> str:
    """One line. Decoders of damaged files raise what they like (RuntimeError, NotImplementedError, MemoryError, …); the
    traceback is shown with -vv. Raises InstallationError for what is missing on this machine.
    """
    if isinstance(error, InstallationError):
        raise error
    if isinstance(error, ImportError):
        raise not_installed(error) from error
    if isinstance(error, AffcliError | OSError):
        return str(error)
    log.debug("%s", path, exc_info=error)
    text = str(error).partition("\n")[0]
    return f"{path}: could not be decoded ({type(error).__name__}{f': {text}' if text else ''})"
