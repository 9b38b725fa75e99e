"""How the id of a video is spelt, wherever one is read."""

from __future__ import annotations

import unicodedata


def one_spelling(video: str) -> str:
    """An id in Unicode's form NFC: macOS and some archives write `ü` as `u` and a mark, keyboards as one character."""
    return video if video.isascii() else unicodedata.normalize("NFC", video)
