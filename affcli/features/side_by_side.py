"""Several feature tables of one stream as one: their features side by side, in the order of the tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, UsageError, counted, listed
from affcli.features.stream import Stream, StreamFeatures, is_encoder, no_features, refuse_other_encoder
from affcli.schema import STARTS, all_starts

log = logging.getLogger(__name__)

Card = Mapping[str, Any]  # what a table and a model know of an encoder


class SideBySide:
    """A `Stream` whose feature is those of several tables one after the other; it has the videos and frames of all.

    A frame is valid where some table has it; in the numbers of the tables that lack it there is NaN. A table may be
    None, with its size in `sizes`: one that a model was trained with, and that is not there.
    """

    def __init__(self, tables: Sequence[Stream | None], sizes: Sequence[int]) -> None:
        self.tables = [table for table in tables if table is not None]
        self._ends = np.cumsum([0, *sizes]).tolist()
        self._spans = [
            (table, slice(*span)) for table, span in zip(tables, pairwise(self._ends), strict=True) if table is not None
        ]
        self.size: int = self._ends[-1]
        self.name = " + ".join(table.name for table in self.tables)
        alignments = (table.metadata.get("alignment") for table in self.tables)
        starts = all_starts(table.metadata for table in self.tables)
        self.metadata: Mapping[str, Any] = {
            "alignment": next((one for one in alignments if one), None),
            **({STARTS: starts} if starts else {}),
        }
        self.videos = sorted({video for table in self.tables for video in table.videos})

    @property
    def encoder(self) -> Card:
        """The tables' cards, in their order."""
        return {"size": self.size, "tables": [card_of(table) for table in self.tables]}

    def __contains__(self, video: str) -> bool:
        return any(video in table for table in self.tables)

    def frames(self, video: str) -> int:
        """The largest number of frames that a table has of the video."""
        return max(table.frames(video) for table in self.tables if video in table)

    def read(self, video: str) -> StreamFeatures:
        """One video's features; times are those of the first table that knows them."""
        stream = no_features(self.frames(video), self.size)
        stream.features[:] = np.nan
        for table, span in self._spans:
            if video in table:
                own = table.read(video)
                stream.features[: own.frames, span][own.valid] = own.features[own.valid]
                stream.valid[: own.frames] |= own.valid
                _fill(stream.time_s, own.time_s)
        stream.features[~stream.valid] = 0
        return stream

    def read_times(self, video: str) -> NDArray[np.float64]:
        """Presentation times of the video's frames, NaN where unknown."""
        times_s = np.full(self.frames(video), np.nan)
        for table in self.tables:
            if video in table:
                _fill(times_s, table.read_times(video))
        return times_s

    def note_differences(self) -> None:
        """Says which videos a table lacks that another one has: its work may be unfinished."""
        for table in self.tables:
            if lacking := [video for video in self.videos if video not in table]:
                log.warning(
                    "%s: has no rows of %s that the tables beside it have: %s",
                    table.name, counted(len(lacking), "video"), listed(lacking, limit=5),
                )  # fmt: skip

    def close(self) -> None:
        """Closes all tables."""
        for table in self.tables:
            table.close()


def _fill(times_s: NDArray[np.float64], more: NDArray[np.float64]) -> None:
    known = times_s[: len(more)]
    known[np.isnan(known)] = more[np.isnan(known)]


def card_of(table: Stream) -> Card:
    """What a model's card says of one of several tables: its encoder, and how its faces are aligned."""
    known = table.encoder or {"size": table.size}
    alignment = table.metadata.get("alignment")
    return {**known, "alignment": alignment} if alignment else known


def cards_in(card: Card) -> list[Card]:
    """The cards of a stream's tables: of a model of one table, that one's."""
    return list(card.get("tables", [card]))


def shapes(card: Card) -> tuple[tuple[int, int], ...]:
    """(hidden layers, numbers in a layer) of a stream's tables; nothing for a single one of one layer."""
    found = tuple((one.get("layers") or 1, one["size"] // (one.get("layers") or 1)) for one in cards_in(card))
    return () if len(found) == 1 and found[0][0] == 1 else found


def joined_tables(tables: Sequence[Stream]) -> Stream | None:
    """The tables given for one stream as one: nothing for none, one as it is."""
    if len(tables) < 2:
        return tables[0] if tables else None
    return SideBySide(tables, [table.size for table in tables])


def as_trained(tables: Sequence[Stream], trained_with: Card, option: str) -> Stream | None:
    """The same in the order that a model was trained with, whatever the order given, told by encoder and alignment.

    Tables that do not name their encoder take the places left, in their order. Raises AffcliError for a table that the
    model does not know; one that it knows and is not given is missing. `option` is what messages call the stream.
    """
    cards = cards_in(trained_with)
    if len(cards) == 1:
        if len(tables) > 1:
            raise UsageError(f"the model was trained with one {option} table, and {len(tables)} are given.")
        if tables:
            refuse_other_encoder(tables[0], cards[0])
        return tables[0] if tables else None
    if not tables:
        return None
    places: list[Stream | None] = [None] * len(cards)
    for table in sorted(tables, key=lambda one: one.encoder is None):
        places[_place(table, cards, places, option)] = table
    if absent := [
        str(card.get("name") or card["size"]) for card, place in zip(cards, places, strict=True) if not place
    ]:
        log.warning("%s: without the features of %s, which count as missing.", option, listed(absent))
    return SideBySide(places, [card["size"] for card in cards])


def _place(table: Stream, cards: Sequence[Card], places: Sequence[Stream | None], option: str) -> int:
    """The number of the card that a table belongs to, among those without one."""
    left = [number for number, place in enumerate(places) if place is None]
    fitting = [number for number in left if _fits(table, cards[number])]
    alignment = table.metadata.get("alignment")
    alike = [number for number in fitting if cards[number].get("alignment") == alignment]
    if not fitting:
        known = [f"{card.get('name') or 'features'} ({card.get('feature') or card['size']})" for card in cards]
        ours = table.encoder or {}
        raise AffcliError(
            f"{table.name}: {option} features of {ours.get('name') or 'an unnamed encoder'} "
            f"({ours.get('feature') or table.size}) are none that the model was trained with and that are not given "
            f"already: {listed(known)}."
        )
    if not alike and alignment and cards[fitting[0]].get("alignment"):
        seen = dict(cards[fitting[0]]["alignment"])
        log.warning("%s: faces are aligned as %s, but the model was trained on %s.", table.name, dict(alignment), seen)
    return (alike or fitting)[0]


def _fits(table: Stream, card: Card) -> bool:
    if table.size != card["size"]:
        return False
    return not table.encoder or not card.get("name") or is_encoder(table.encoder, card)
