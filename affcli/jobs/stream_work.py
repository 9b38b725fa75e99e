"""The unfinished work on one stream of inputs that are labelled: what an extractor tells of each, kept in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from affcli.errors import AffcliError
from affcli.files.inputs import MediaInput, identity
from affcli.jobs.job import Fingerprints
from affcli.jobs.parts import Parts, PartWriter
from affcli.jobs.stream_features import PartFeatures


@dataclass(frozen=True)
class StreamKind:
    """The features of one stream: their size, the columns of their rows, and all that decides what they are."""

    size: int
    schema: pa.Schema
    facts: Mapping[str, Any]


class Mark(NamedTuple):
    """What an input was when the work on it began."""

    identity: str
    fingerprint: str


class Marks:
    """The marks of inputs, one for both streams: a file that changes after it was taken is no longer that input."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._fingerprints, self._known = fingerprints, dict[str, Mark]()

    def take(self, item: MediaInput) -> Mark:
        """Before the input is read. Raises AffcliError for what cannot be."""
        identity = self._fingerprints.identity(item)
        self._known[item.video] = Mark(identity, self._fingerprints.now(item))
        return self._known[item.video]

    def of(self, item: MediaInput) -> Mark:
        """The one that was taken, or one that is taken now."""
        return self._known.get(item.video) or self.take(item)

    def has_changed(self, item: MediaInput) -> bool:
        """Since it was taken; an input that is gone was read to its end."""
        known = self._known.get(item.video)
        return known is not None and item.path.exists() and self._fingerprints.identity(item) != known.identity


class StreamWork:
    """The parts of one stream, and what its extractor tells of each input: a Recording.

    `ended(item, reason)` is called when an input's stream is done, with a reason where there is none.
    """

    def __init__(
        self, output: Path, kind: StreamKind, marks: Marks, ended: Callable[[MediaInput, str | None], None]
    ) -> None:
        self._size, self._marks, self._ended = kind.size, marks, ended
        self._parts = Parts(str(output), kind.facts, kind.schema)
        self._begun: dict[str, PartWriter] = {}

    def begin(self, item: MediaInput) -> PartWriter:
        mark = self._marks.of(item)
        self._begun[item.video] = self._parts.begin(item.video, mark.identity, mark.fingerprint)
        return self._begun[item.video]

    def finish(self, item: MediaInput, problem: str | None) -> None:
        self._begun.pop(item.video).finish(problem)
        self._ended(item, None)

    def fail(self, item: MediaInput, reason: str) -> None:
        if (part := self._begun.pop(item.video, None)) is not None:
            part.leave()
        self._ended(item, reason.removeprefix(f"{item.path}: "))

    def finished(self, item: MediaInput) -> PartFeatures | None:
        """The input's stream, where it is done."""
        try:
            part = self._parts.find(item.video, identity(item))
        except AffcliError:  # it cannot be read; whoever tries will say so
            return None
        return None if part is None else PartFeatures(str(item.path), part, self._size)

    def forget(self, item: MediaInput) -> None:
        with suppress(AffcliError):  # it could not be read: nothing was kept
            self._parts.forget(item.video, self._marks.of(item).identity)

    def remove(self) -> None:
        self._parts.remove()

    def close(self) -> None:
        for part in self._begun.values():
            part.leave()
        self._parts.close()
