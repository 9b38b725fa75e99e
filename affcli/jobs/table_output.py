"""One table with the rows of all inputs, gathered from the parts when all are done."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from affcli.files.inputs import MediaInput
from affcli.files.outputs import refuse_existing
from affcli.jobs.ends import End
from affcli.jobs.parts import Parts
from affcli.jobs.plan import Existing, Failure, Plan
from affcli.schema import STARTS, STATUS, with_metadata
from affcli.tables.by_video import RowsByVideo
from affcli.tables.reader import TableReader
from affcli.tables.writer import TableWriter

log = logging.getLogger(__name__)

STREAM: Final = "features"  # the one stream of each input's parts
OF_THE_INPUTS: Final = ("version", "inputs", "failed", "incomplete", "shard", STARTS)  # metadata but for the settings


@dataclass(frozen=True)
class TableOutput:
    """The table `name`, an Output. `facts` go into its metadata and decide, with kind and inputs, what is in it."""

    name: str
    kind: str
    schema: pa.Schema
    facts: Mapping[str, Any]

    gathers_rows = True

    @property
    def parts(self) -> Path:
        """Beside the table."""
        return Path(f"{self.name}.parts")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Kind and facts."""
        return {"kind": self.kind, **self.facts}

    @property
    def status(self) -> Path:
        """Goes with the parts: the table tells the rest."""
        return self.parts / STATUS

    def look(self) -> Existing:
        """What the metadata of the table say, where there is one."""
        refuse_existing(self.name, force=True)
        if not Path(self.name).is_file():
            return Existing(complete=False)
        with TableReader(self.name) as reader:
            found = dict(reader.metadata)
        settings = {key: value for key, value in found.items() if key not in OF_THE_INPUTS}
        if "inputs" not in found or settings != json.loads(json.dumps(self.settings)):
            return Existing(same_settings=False)
        failed = {video: Failure(fingerprint) for video, fingerprint in found["failed"].items()}
        return Existing(found["inputs"], found["inputs"], failed, found["incomplete"])

    def refuse_strangers(self, inputs: Sequence[MediaInput]) -> None:
        """There is one file, which `look` tells of."""

    def prepare(self) -> None:
        """The parts lie beside the table."""

    def leave(self) -> None:
        """Nothing was prepared."""

    def holds(self, item: MediaInput, end: End, parts: Parts) -> bool:
        """Whether the input's rows are whole."""
        return parts.find(item, STREAM) is not None

    def gather(
        self, plan: Plan, done: Mapping[MediaInput, End], failed: Mapping[str, Failure], parts: Parts
    ) -> tuple[int, int]:
        """Writes the rows of all videos, sorted by video id."""
        for item, end in done.items():
            if end.problem:
                log.error("%s: %s; the rows of its decodable frames are kept.", item.path, end.problem)
        problems = {item.video: end.problem for item, end in done.items() if end.problem}
        made = {item: part for item in done if (part := parts.find(item, STREAM)) is not None}
        with _KeptRows(self.name, plan) as kept:
            starts_s = {item.video: part.facts[STARTS] for item, part in made.items() if STARTS in part.facts}
            facts = {
                "inputs": {**plan.kept, **{item.video: end.fingerprint for item, end in done.items()}},
                "failed": {video: failure.fingerprint for video, failure in failed.items()},
                "incomplete": {**kept.known("incomplete"), **problems},
            }
            if starts_s := {**kept.known(STARTS), **starts_s}:
                facts[STARTS] = starts_s
            sources = kept.videos
            for part in made.values():
                sources.update({video: partial(part.tables, video) for video in part.videos})
            return self.write(facts, sources, plan.shard)

    def write(
        self,
        by_input: Mapping[str, Mapping[str, Any]],
        sources: Mapping[str, Callable[[], Iterator[pa.Table]]],
        more: Mapping[str, Any],
    ) -> tuple[int, int]:
        """Writes the rows of all videos, sorted by video id, with what is known by input, and more, as metadata."""
        in_order = {name: dict(sorted(facts.items())) for name, facts in by_input.items()}
        schema = with_metadata(self.schema, kind=self.kind, **self.facts, **in_order, **more)
        with TableWriter(self.name, schema, force=True) as writer:
            for video in sorted(sources):
                for rows in sources[video]():
                    writer.write(rows)
        return len(sources), writer.rows


class _KeptRows:
    """The rows of the table that is there which stay in the new one."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.videos: dict[str, Callable[[], Iterator[pa.Table]]] = {}
        self._kept, self._reader = plan.kept, TableReader(name) if plan.kept else None
        if self._reader is not None:
            by_video = RowsByVideo(self._reader, "video", self._reader.columns)
            inputs = self._reader.metadata["inputs"]
            kept = [video for video in by_video.ids if _owner(video, inputs) in plan.kept]
            self.videos = {video: partial(rows_of, by_video, video) for video in kept}

    def known(self, name: str) -> dict[str, Any]:
        """What the metadata tell by input, of those that stay."""
        known = {} if self._reader is None else self._reader.metadata.get(name, {})
        return {video: fact for video, fact in known.items() if video in self._kept}

    def __enter__(self) -> _KeptRows:
        return self

    def __exit__(self, *error: object) -> None:
        if self._reader is not None:
            self._reader.close()


def _owner(video: str, inputs: Mapping[str, str]) -> str:
    """The input that gave a video: itself, or `X` for the tracked person `X#2`."""
    return video if video in inputs else video.rpartition("#")[0]


def rows_of(by_video: RowsByVideo, video: str) -> Iterator[pa.Table]:
    """One video's rows, as `TableOutput.write` takes them."""
    yield by_video.rows(video)
