"""One spelling for ids of videos, whichever system wrote them."""

from __future__ import annotations

import unicodedata


def one_spelling(video: str) -> str:
    """An id in Unicode's form NFC: macOS and some archives write `ü` as `u` and a mark, keyboards as one character."""
    return video if video.isascii() else unicodedata.normalize("NFC", video)
