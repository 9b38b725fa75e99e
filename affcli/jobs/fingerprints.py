"""What tells one state of an input from another: cheaply, and by its content."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from affcli.errors import AffcliError
from affcli.files.inputs import MediaInput, digest, identity


class Mark(NamedTuple):
    """What an input was at one time: `identity` by sizes and times of change, `fingerprint` by its content."""

    identity: str
    fingerprint: str


class Fingerprints:
    """The marks of inputs and of what lies beside them. An input is read again only when its identity has changed."""

    def __init__(self, beside: Callable[[MediaInput], bytes] = lambda item: b"") -> None:
        self._beside = beside
        self._marks: dict[str, Mark] = {}
        self._known_beside: dict[str, str] = {}

    def mark(self, item: MediaInput) -> Mark:
        """What the input is now. Raises AffcliError where it cannot be read."""
        now = self.identity(item)  # before it is read: what changes after this is noticed
        known = self._marks.get(item.video)
        if known is None or known.identity != now:
            known = Mark(now, digest(item) + self._of_beside(item))
            self._marks[item.video] = known
        return known

    def or_none(self, item: MediaInput) -> str | None:
        """The fingerprint; None where the input cannot be read."""
        try:
            return self.mark(item).fingerprint
        except AffcliError:
            return None

    def identity(self, item: MediaInput) -> str:
        """What changes with an input's content and with what lies beside it. The input itself is not read."""
        return identity(item) + self._of_beside(item)

    def is_still(self, item: MediaInput, stored: str) -> bool:
        """Whether the input has this identity. One that is gone had it when it was last seen."""
        try:
            return self.identity(item) == stored
        except AffcliError:
            return is_gone(item)

    def _of_beside(self, item: MediaInput) -> str:
        if item.video not in self._known_beside:
            beside = self._beside(item)
            text = f"+{blake2b(beside, digest_size=8).hexdigest()}" if beside else ""
            self._known_beside[item.video] = text
        return self._known_beside[item.video]


def is_gone(item: MediaInput) -> bool:
    """Whether the input is not there any more. What was made of it before stays."""
    return not os.path.lexists(item.path)
