"""Folders of decoded examples beside an encoder: what training may remove from them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from affcli.files.outputs import remove_leftovers

# What facesets and speechsets keep there, under a fingerprint of what it was made from.
_OWN: Final = re.compile(r"[a-z-]+-[0-9a-f]{16}\.(npy|growing|journal|pcm|json)")


def remove_decoded(folder: Path) -> None:
    """Removes the decoded examples in a folder, and the folder where nothing else is in it; other files stay."""
    if folder.is_symlink() or not folder.is_dir():
        return
    remove_leftovers(folder)
    with suppress(OSError):
        for file in list(folder.iterdir()):
            is_lock = file.name == "lock" and file.is_file() and not file.stat().st_size
            if is_lock or (_OWN.fullmatch(file.name) and file.is_file() and not file.is_symlink()):
                file.unlink()
        folder.rmdir()  # fails where something of somebody else is in it
