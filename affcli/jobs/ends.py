"""What became of the inputs: each process appends lines to a file of its own, and reads those of all.

    ends/<token>.jsonl    a digest and one JSON object a line: what began, what ended, what is to be done again

Of several lines on an input that with the largest claim counts (claims.py), of those the last. A line that is damaged
or was not written to its end counts for nothing.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

_SUFFIX: Final = ".jsonl"
_DIGEST_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class End:
    """What became of an input. `fingerprint` is that of its content, `identity` of its state, None where unknown."""

    fingerprint: str | None = None
    problem: str | None = None  # why rows may be missing, in one line
    failure: str | None = None  # why there are none
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: `claim` is the number under which it was written, `end` None for an input that was begun, or reopened."""

    video: str
    claim: int
    end: End | None
    since: str | None = None  # when it was begun, by the clock of that machine


class Ends:
    """What all processes have told so far. `token` names this one's file."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder, self._token = folder, token
        self._entries: dict[str, tuple[Entry, str]] = {}  # by video id, with the token of the process
        self._read_to: dict[str, int] = {}  # bytes, by token
        self._told: set[str] = set()  # files with a damaged line

    def add(self, entry: Entry) -> None:
        """Tells all. Raises OSError."""
        text = json.dumps([entry.video, entry.claim, entry.end and asdict(entry.end), entry.since]).encode()
        line = _digest(text) + b" " + text + b"\n"
        # Opened and closed for each line: so NFS shows it to the others.
        with (self._folder / f"{self._token}{_SUFFIX}").open("ab") as file:
            file.write(line)
        self._take(entry, self._token)

    def get(self, video: str) -> Entry | None:
        """What is known of an input since `refresh`."""
        found = self._entries.get(video)
        return None if found is None else found[0]

    def all(self) -> Iterator[tuple[Entry, str]]:
        """The last entry of each input, with the token of the process that has made it."""
        return iter(list(self._entries.values()))

    def refresh(self, token: str | None = None) -> None:
        """Reads what was added by others, or by one of them."""
        names = [f"{token}{_SUFFIX}"] if token else sorted(os.listdir(self._folder))  # noqa: PTH208
        for name in names:
            if name.endswith(_SUFFIX) and name != f"{self._token}{_SUFFIX}":
                self._read(name.removesuffix(_SUFFIX))

    def _read(self, token: str) -> None:
        path, start = self._folder / f"{token}{_SUFFIX}", self._read_to.get(token, 0)
        try:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]  # the last line may be in the making
        self._read_to[token] = start + len(whole)
        for line in whole.splitlines():
            digest, _, text = line.partition(b" ")
            if _digest(text) == digest:
                video, claim, end, since = json.loads(text)
                self._take(Entry(video, claim, end and End(**end), since), token)
            elif token not in self._told:
                self._told.add(token)
                log.warning("%s: unfinished work is damaged; what it told of is done again.", path)

    def _take(self, entry: Entry, token: str) -> None:
        known = self._entries.get(entry.video)
        if known is None or entry.claim >= known[0].claim:
            self._entries[entry.video] = (entry, token)


def _digest(text: Any) -> bytes:
    return blake2b(text, digest_size=_DIGEST_BYTES).hexdigest().encode()
