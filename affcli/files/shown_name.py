"""File names as ids: valid Unicode, whatever bytes the file system holds."""

from __future__ import annotations

import os


def shown_name(name: str) -> str:
    """A name as valid Unicode: bytes that are no UTF-8 appear as `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
