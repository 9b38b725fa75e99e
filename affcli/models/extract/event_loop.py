"""Events of many inputs → the rows of each, left in its parts: the loop that both extractors share.

Inputs are opened one after the other, ahead of the encoder and in another thread; their rows are made here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from affcli.errors import AffcliError, StorageError
from affcli.files.inputs import MediaInput
from affcli.jobs.job import Ended
from affcli.jobs.parts import Parts
from affcli.jobs.progress import Progress
from affcli.jobs.stream_part import PartWriter
from affcli.media import hearing, showing
from affcli.schema import STARTS

log = logging.getLogger(__name__)

EventsOf = Callable[[MediaInput, Sequence[Any]], Iterator[Any]]  # of an input, from where its kept states end
OPENED, CLOSED = (showing.Opened, hearing.Opened), (showing.Closed, hearing.Closed)


class RowMaker(Protocol):
    """Makes rows of one input's events."""

    def add(self, event: Any, encoded: Any) -> int:
        """Takes an event between opening and closing, and what the encoder made of it; how many frames are done."""

    def finish(self, closed: Any) -> int:
        """Leaves the last rows; how many frames are done. Raises AffcliError where there is not a single row."""

    def told(self) -> str:
        """What was found, in a few words, for a person to read."""


@dataclass
class EventLoop:
    """One stream of the inputs in `parts`; `rows_of` makes the rows of an input that was opened.

    `stage` is the word for this work, such as `faces`.
    """

    parts: Parts
    stage: str
    stream: str
    schema: pa.Schema
    rows_of: Callable[[Any, PartWriter], RowMaker]
    _writers: dict[MediaInput, PartWriter] = field(default_factory=dict)
    _opened_s: float = 0.0

    def open_all(self, items: Iterable[MediaInput], events_of: EventsOf) -> Iterator[Any]:
        """The events of all inputs, each in turn; `Ended` alone for one that cannot be read or was done before."""
        for item in items:
            try:
                part = self.parts.begin(item, self.stream, self.schema)
            except StorageError:  # no fault of the input's
                raise
            except (AffcliError, OSError) as error:
                yield Ended(item, failure=str(error))
                continue
            if part is None:
                done = self.parts.find(item, self.stream)
                yield Ended(item, None if done is None else done.problem)
                continue
            self._writers[item] = part
            yield from events_of(item, part.states)

    def make_rows(self, events: Iterable[tuple[Any, Any]], progress: Progress) -> Generator[Ended]:
        """Takes events, each with what the encoder made of it, in their order; tells of each input as it ends."""
        rows: RowMaker | None = None
        try:
            for event, encoded in events:
                if isinstance(event, Ended):
                    yield event
                elif isinstance(event, OPENED):
                    rows = self.rows_of(event, self._writers[event.item])
                    progress.opened(event.item, self.stage, event.expected)
                    self._opened_s = time.perf_counter()
                elif isinstance(event, CLOSED):
                    yield self._ended(event, rows, progress)
                    rows = None
                else:
                    assert rows is not None
                    progress(rows.add(event, encoded))
        finally:
            for part in self._writers.values():
                part.leave()

    def _ended(self, closed: Any, rows: RowMaker | None, progress: Progress) -> Ended:
        part, failure = self._writers.pop(closed.item), closed.failure
        try:
            if failure is None:
                assert rows is not None
                progress(rows.finish(closed))
                part.finish(closed.problem, **({STARTS: closed.starts_s} if closed.starts_s else {}))
                log.info("%s: %s: %s", closed.item.path, self.stage, rows.told())
                took_s = time.perf_counter() - self._opened_s
                log.debug("%s: %s took %.2f s", closed.item.path, self.stage, took_s)
        except StorageError:
            raise
        except AffcliError as error:
            failure = str(error)
        part.leave()
        return Ended(closed.item, closed.problem, failure)
