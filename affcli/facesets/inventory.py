"""What can be said of listed pictures without reading one: whether they still are those of an earlier training."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from affcli.errors import AffcliError
from affcli.facesets.listing import Labelled, Listing

_TICK_NS: Final = 50_000_000  # file systems' clocks are a little behind: a change now may be dated so much earlier


@dataclass(frozen=True)
class Inventory:
    """`digest` of names, sizes, places in files and labels, without folders or dates; and when their files changed.

    Where a digest is the same and no file has changed since, the pictures are the same.
    """

    digest: str
    changed_ns: int  # the latest change of a file: of its content, or that it was put there
    taken_ns: int

    @classmethod
    def of(cls, listing: Listing) -> Inventory:
        """Raises AffcliError for a picture that is not there any more."""
        taken_ns, changed_ns = time.time_ns() - _TICK_NS, 0
        state = blake2b(repr(listing.sources).encode(), digest_size=16)
        for part in (listing.train, listing.held_out):
            for fact, status in _facts(part):
                state.update(fact)
                changed_ns = max(changed_ns, status.st_mtime_ns, status.st_ctime_ns)
            state.update(part.targets.tobytes() + part.source.tobytes() + part.group.tobytes())
        return cls(state.hexdigest(), changed_ns, taken_ns)

    def unchanged_since(self, time_ns: int) -> bool:
        """Whether nothing has changed since a time in nanoseconds."""
        return self.changed_ns <= time_ns


def stat(path: str) -> os.stat_result:
    """Of a listed file; raises AffcliError where it is not there any more."""
    try:
        return os.stat(path)  # noqa: PTH116 - for speed
    except OSError as error:
        raise AffcliError(f"{path}: {error.strerror}") from error


def _facts(pictures: Labelled) -> Iterator[tuple[bytes, os.stat_result]]:
    for origin in pictures.origins:
        status = stat(origin.path)
        name = os.path.basename(origin.path)  # noqa: PTH119 - for speed
        fact = repr((name, status.st_size, *origin.facts))
        yield fact.encode("utf-8", "surrogateescape"), status
