"""Whether the tables of an ensemble are about the same frames: a mean over fewer tables looks like any other."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from affcli.errors import counted, listed
from affcli.predictions.logit_table import LogitTable

log = logging.getLogger(__name__)


class SharedFrames:
    """How many frames each table of an ensemble lacks, counted video by video."""

    def __init__(self, tables: Sequence[LogitTable]) -> None:
        self._tables, self._all, self._common = tables, 0, 0
        self._lacking = np.zeros(len(tables), np.int64)

    def add(self, video: str, frame: np.ndarray, own: Sequence[np.ndarray]) -> None:
        """`frame` [F] are a video's frames, `own` those of the tables that have the video, in order."""
        self._all += frame.size
        sizes = iter([frames.size for frames in own])
        self._lacking += [frame.size - (next(sizes) if video in table else 0) for table in self._tables]
        self._common += sum(frames.size for frames in own) - frame.size

    def note(self) -> None:
        """Says which tables lack frames, and the names of their videos where no two have a frame in common."""
        if not self._lacking.any():
            return
        found = zip(self._tables, self._lacking, strict=True)
        lacking = listed([f"{table.name} lacks {number:,}" for table, number in found if number])
        hint = ""
        if not self._common:
            names = [f"{table.name}: {listed(table.ids, limit=2)}" for table in self._tables]
            hint = f" No two tables have a frame in common; the videos are called ({'; '.join(names)})."
        log.warning("not every table has each of the %s: %s.%s", counted(self._all, "frame"), lacking, hint)
