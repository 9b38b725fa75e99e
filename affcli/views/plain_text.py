"""Names and labels as pictures, captions and documents may hold them: anybody's tables, so any characters."""

from __future__ import annotations

import re
from typing import Final

# Control characters, and what XML 1.0 does not allow (section 2.2); tabs and line ends are white space.
_ODD: Final = re.compile("[^\t\n\r\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def allowed(text: str) -> str:
    """The text; what no document may hold is U+FFFD."""
    return _ODD.sub("\ufffd", text)


def plain_text(text: str) -> str:
    """The text on one line, a dash where there is none; what cannot be shown is U+FFFD."""
    return " ".join(allowed(text).split()) or "\u2013"
