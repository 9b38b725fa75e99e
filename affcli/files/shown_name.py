"""File names as ids: valid Unicode, whatever bytes the file system holds."""

from __future__ import annotations

import os

from affcli.video_ids import one_spelling


def shown_name(name: str) -> str:
    """A name as valid Unicode, in one spelling: bytes that are no UTF-8 appear as `\\xe9`."""
    return one_spelling(os.fsencode(name).decode("utf-8", "backslashreplace"))
