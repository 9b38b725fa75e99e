"""From a list of pictures to what training draws from."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from affcli.errors import counted
from affcli.facesets.decoding import decoded, kept_rows
from affcli.facesets.listing import Labelled, Listing, Origin
from affcli.facesets.mixing import drawing_weights
from affcli.facesets.pictures import FaceData, Pictures
from affcli.facesets.pixel_file import Decoded
from affcli.facesets.preparing import ALIGNED, NO_FACE, THINNED, UNREADABLE, Preparation, Preparer

log = logging.getLogger(__name__)


def load(
    listing: Listing,
    how: Preparation,
    *,
    cache: Path,
    class_power: float,
    raw_too: bool = False,
    thin: float | None = None,
    advance: Callable[[int], None] = lambda pictures: None,
) -> FaceData:
    """Training and held-out pictures, decoded; with `raw_too` the held-out ones also without alignment."""

    def made(name: str, listed: Labelled, how: Preparation) -> Decoded:
        return decoded(name, listed, how, cache=cache, thin=thin, advance=advance)

    train = made("train", listing.train, how)
    held_out = made("held-out", listing.held_out, how) if len(listing.held_out) else None
    raw = made("held-out-raw", listing.held_out, replace(how, align=False)) if held_out and raw_too else None
    _tell(listing, train.fates, held_out.fates if held_out else "")
    drawn = _pictures(listing.sources, listing.train, train, class_power=class_power)
    state = blake2b(digest_size=16)
    for digest in (train.digest, held_out.digest if held_out else "-"):
        state.update(digest.encode())
    judged = None if held_out is None else _pictures(listing.sources, listing.held_out, held_out)
    for pictures in (drawn, judged):
        if pictures is not None:
            state.update(pictures.targets.tobytes() + pictures.weights.tobytes())
    unaligned = None if raw is None else _pictures(listing.sources, listing.held_out, raw)
    return FaceData(drawn, judged, unaligned, state.hexdigest())


def pictures_to_decode(listing: Listing, *, raw_too: bool) -> int:
    """How many pictures `load` tells of in all."""
    return len(listing.train) + len(listing.held_out) * (2 if raw_too else 1)


def sampled(listing: Listing, count: int, how: Preparation, *, class_power: float, seed: int) -> Pictures:
    """Training pictures as they would be drawn, decoded now and kept nowhere: for a look at them."""
    weights = drawing_weights(listing.train.group, listing.train.labels, class_power=class_power)
    rows = np.random.default_rng(seed).choice(len(weights), count, p=weights)
    preparer, chosen = Preparer(how), listing.train.take(rows)
    made = [preparer.prepare(origin)[0] for origin in chosen.origins]
    readable = np.array([row for row, pixels in enumerate(made) if pixels is not None], np.int64)
    stack = np.array([made[row] for row in readable], np.uint8).reshape(-1, how.size, how.size, 3)
    chosen = chosen.take(readable)
    even = np.full(len(chosen), 1 / max(1, len(chosen)))
    return Pictures(stack, chosen.targets, even, listing.sources, chosen.source)


def _pictures(
    sources: tuple[str, ...], listed: Labelled, made: Decoded, *, class_power: float | None = None
) -> Pictures:
    """The pictures that were kept; without `class_power` all weigh the same."""
    kept = listed.take(kept_rows(made.fates))
    if class_power is None:
        weights = np.full(len(kept), 1 / len(kept))
    else:
        weights = drawing_weights(kept.group, kept.labels, class_power=class_power)
    return Pictures(made.pixels, kept.targets, weights, sources, kept.source)


def _tell(listing: Listing, train: str, held_out: str) -> None:
    """What became of the pictures of each set, where there is something to say."""
    source = np.concatenate([listing.train.source, listing.held_out.source])
    fates = np.array(list(train + held_out))
    origins = (*listing.train.origins, *listing.held_out.origins)
    for number, name in enumerate(listing.sources):
        counts = Counter(fates[source == number].tolist())
        looked = counts[ALIGNED] + counts[NO_FACE]
        if looked:
            found = f"a face was found in {counts[ALIGNED] / looked:.1%} of {counted(looked, 'picture')}"
            log.warning("%s: %s; the others are taken as they are.", name, found)
        if counts[THINNED]:
            log.warning(
                "%s: %s hardly differ from their neighbours and are left out.", name, counted(counts[THINNED], "frame")
            )
        if counts[UNREADABLE]:
            log.warning("%s: %s cannot be read and are left out.", name, counted(counts[UNREADABLE], "picture"))
            for row in np.flatnonzero((source == number) & (fates == UNREADABLE)):
                log.info("%s: cannot be read: %s", name, _place(origins[row]))


def _place(origin: Origin) -> str:
    """Where a picture is, for people."""
    if origin.cell is None:
        return origin.path if origin.span is None else f"{origin.path}, byte {origin.span[0]}"
    return f"{origin.path}, row group {origin.cell[0]}, row {origin.cell[1]}"
