"""Decodes listed pictures once, in all cores' threads, into a file that later runs find again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError
from affcli.facesets.inventory import stat
from affcli.facesets.listing import Labelled
from affcli.facesets.pixel_file import Decoded, PixelWriter, finished, storage
from affcli.facesets.preparing import KEPT, THINNED, Pixels, Preparation, Preparer
from affcli.facesets.thinning import Thinner

_BLOCK: Final = 512  # pictures after which work is kept
VERSION: Final = 1  # of how pictures are made; a new one makes them anew


def decoded(
    name: str,
    listed: Labelled,
    how: Preparation,
    *,
    cache: Path,
    thin: float | None = None,
    advance: Callable[[int], None] = lambda pictures: None,
) -> Decoded:
    """The pixels of all readable pictures of a list, in its order, as a file `NAME-….npy` in the folder `cache`.

    With `thin`, pictures that hardly differ from their neighbours in a group are passed over (see `Thinner`). The file
    is used again for the same files (by path, size and time of change), settings and, with `thin`, labels. Several
    processes may ask for it at once: one makes it, the others wait. `advance(n)` tells of n more pictures.
    Raises AffcliError where not one picture is readable, and where the folder cannot be written.
    """
    path = cache / f"{name}-{_fingerprint(listed, how, thin)}.npy"
    with _alone_in(cache):
        if (known := finished(path)) is not None:
            advance(len(listed))
            return known
        writer = PixelWriter(path, how.size)
        try:
            _write_blocks(writer, listed, how, thin, advance)
            if not writer.rows:
                raise AffcliError(f"{listed.origins[0].path}: none of {len(listed):,} pictures can be read.")
            writer.finish()
        finally:
            writer.close()
    made = finished(path)
    assert made is not None
    return made


def kept_rows(fates: str) -> NDArray[np.int64]:
    """The rows of the list that have pixels."""
    return np.array([row for row, fate in enumerate(fates) if fate in KEPT], np.int64)


def _write_blocks(
    writer: PixelWriter, listed: Labelled, how: Preparation, thin: float | None, advance: Callable[[int], None]
) -> None:
    """Writes what is not written yet."""
    done = len(writer.fates)
    advance(done)
    keeps = _thinning(writer, listed, thin)
    preparer, pool = Preparer(how), ThreadPoolExecutor(workers())
    try:
        for start in range(done, len(listed), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(listed)))
            made = pool.map(preparer.prepare, listed.origins[start : rows.stop])
            chosen = [_chosen(row, *one, keeps) for row, one in zip(rows, made, strict=True)]
            kept = [pixels for pixels, _ in chosen if pixels is not None]
            block = np.array(kept, np.uint8).reshape(-1, how.size, how.size, 3)
            writer.append(block, "".join(fate for _, fate in chosen))
            advance(len(rows))
    finally:
        pool.shutdown(cancel_futures=True)


def _thinning(writer: PixelWriter, listed: Labelled, thin: float | None) -> Callable[[int, Pixels], bool]:
    """Whether to keep the picture of a row of the list; asked of one row after the other, from what is written on."""
    if thin is None:
        return lambda row, pixels: True
    thinner, group, labels = Thinner(thin), listed.group, listed.labels
    if writer.rows:
        last = int(kept_rows(writer.fates)[-1])
        thinner.begin_after(writer.last(), int(group[last]), int(labels[last]))
    return lambda row, pixels: thinner.keeps(pixels, int(group[row]), int(labels[row]))


def _chosen(
    row: int, pixels: Pixels | None, fate: str, keeps: Callable[[int, Pixels], bool]
) -> tuple[Pixels | None, str]:
    return (None, THINNED) if pixels is not None and not keeps(row, pixels) else (pixels, fate)


def workers() -> int:
    """Threads to decode with: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fingerprint(listed: Labelled, how: Preparation, thin: float | None) -> str:
    state = blake2b(repr((VERSION, sorted(asdict(how).items()), thin)).encode(), digest_size=8)
    for origin in listed.origins:
        status = stat(origin.path)
        path = os.path.abspath(origin.path)  # noqa: PTH100 - for speed
        facts = (path, *origin.facts, status.st_size, status.st_mtime_ns)
        state.update(repr(facts).encode("utf-8", "surrogateescape"))
    if thin is not None:
        state.update(listed.labels.tobytes() + listed.group.tobytes())
    return state.hexdigest()


@contextmanager
def _alone_in(cache: Path) -> Iterator[None]:
    """No other process makes pictures in this folder meanwhile, where the file system knows locks."""
    with storage(cache / "lock"):
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("ab")
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
