"""What a job tells of its progress, to whoever shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from affcli.files.inputs import MediaInput


class Progress(Protocol):
    """Told of a job as it goes on, from one thread; called with a number, it counts frames that are done."""

    def begins(self, left: Sequence[MediaInput], *, of: int) -> None:
        """These inputs are left to do, of so many."""

    def opened(self, item: MediaInput, stage: str, frames: int | None) -> None:
        """A stage of an input's work begins, such as `faces`, of about so many frames; None where nothing tells."""

    def __call__(self, frames: int) -> None:
        """So many more frames of the input that was opened last are done."""

    def ended(self, item: MediaInput, problem: str | None, failure: str | None) -> None:
        """An input is done; `failure` says why it gives nothing, `problem` what it may lack."""


class Silent:
    """A `Progress` that tells nobody."""

    def begins(self, left: Sequence[MediaInput], *, of: int) -> None:
        """Nothing happens."""

    def opened(self, item: MediaInput, stage: str, frames: int | None) -> None:
        """Nothing happens."""

    def __call__(self, frames: int) -> None:
        """Nothing happens."""

    def ended(self, item: MediaInput, problem: str | None, failure: str | None) -> None:
        """Nothing happens."""


class Uncounted(Silent):
    """Passes on what a second stage tells of the same frames, but does not count them again."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def opened(self, item: MediaInput, stage: str, frames: int | None) -> None:
        """As it is told, without a number of frames."""
        self._progress.opened(item, stage, None)
