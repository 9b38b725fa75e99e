"""Runs an extractor over many inputs and gathers one table: what is done is kept, what fails is named, nothing is lost.

An extractor is a function that takes the inputs still to do and a `Recorder`, and tells the recorder what becomes of
each. This module knows neither pictures nor sound nor torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from affcli.errors import AffcliError
from affcli.grouping import RowsByVideo
from affcli.inputs import MediaInput, digest
from affcli.outputs import refuse_existing
from affcli.resume import Part, Parts, PartWriter
from affcli.schema import with_metadata
from affcli.tables import TableReader
from affcli.writing import TableWriter

log = logging.getLogger(__name__)

_OF_THE_INPUTS = ("inputs", "failed", "incomplete")  # metadata that tells of the inputs, not of the settings


@dataclass(frozen=True)
class Task:
    """One table to make. `facts` go into its metadata; they and the extractor's own settings decide what is reused."""

    output: str
    kind: str
    schema: pa.Schema
    facts: Mapping[str, Any]
    force: bool = False
    update: bool = False
    fail_fast: bool = False
    beside: Callable[[MediaInput], bytes] = lambda item: b""  # what an input's rows depend on besides its own content


@dataclass(frozen=True)
class Summary:
    """What an extraction has made. `failed` and `incomplete` are video ids of inputs."""

    videos: int = 0
    rows: int = 0
    failed: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    nothing_to_do: bool = False


class Fingerprints:
    """Content fingerprints of inputs, each computed once, when it is first asked for."""

    def __init__(self, beside: Callable[[MediaInput], bytes]) -> None:
        self._beside = beside
        self._known: dict[str, str] = {}

    def of(self, item: MediaInput) -> str:
        """Raises AffcliError where the input cannot be read."""
        if item.video not in self._known:
            beside = self._beside(item)
            more = f"+{blake2b(beside, digest_size=8).hexdigest()}" if beside else ""
            self._known[item.video] = digest(item) + more
        return self._known[item.video]

    def or_none(self, item: MediaInput) -> str | None:
        try:
            return self.of(item)
        except AffcliError:
            return None


class Recorder:
    """Where an extractor leaves its rows, input by input."""

    def __init__(self, parts: Parts, fingerprints: Fingerprints, *, fail_fast: bool) -> None:
        self._parts, self._fingerprints, self._fail_fast = parts, fingerprints, fail_fast
        self.failed: list[MediaInput] = []

    def begin(self, item: MediaInput) -> PartWriter:
        return self._parts.begin(item.video, self._fingerprints.of(item))

    def fail(self, item: MediaInput, reason: str) -> None:
        """An input that gives no rows is named, and the others go on."""
        self.failed.append(item)
        log.error("%s", reason if str(item.path) in reason else f"{item.path}: {reason}")
        if self._fail_fast:
            raise AffcliError("stopped at the first failure (--fail-fast); what is done is kept for the next run.")


Extractor = Callable[[Sequence[MediaInput], Recorder], None]


def run(task: Task, inputs: Sequence[MediaInput], extractor: Extractor) -> Summary:
    """Extracts what is not done yet and writes the table."""
    fingerprints = Fingerprints(task.beside)
    existing = _Existing.of(task, inputs, fingerprints)
    if existing is not None and not (todo := existing.missing):
        return Summary(failed=existing.failed, incomplete=existing.incomplete, nothing_to_do=True)
    missing = list(inputs) if existing is None else todo
    parts = Parts(task.output, {"kind": task.kind, **task.facts}, task.schema)
    recorder = Recorder(parts, fingerprints, fail_fast=task.fail_fast)
    extractor(_undone(missing, parts, fingerprints), recorder)
    done = {item: part for item in missing if (part := _part(item, parts, fingerprints)) is not None}
    if not done and existing is None:
        parts.remove()
        raise AffcliError("none of the inputs could be used; nothing is written.")
    summary = _gather(task, existing, done, recorder.failed, fingerprints)
    parts.remove()
    return summary


def _undone(missing: Sequence[MediaInput], parts: Parts, fingerprints: Fingerprints) -> list[MediaInput]:
    if parts.empty:
        return list(missing)
    todo = [item for item in missing if _part(item, parts, fingerprints) is None]
    log.warning("going on with unfinished work: %d of %d inputs are done.", len(missing) - len(todo), len(missing))
    return todo


def _part(item: MediaInput, parts: Parts, fingerprints: Fingerprints) -> Part | None:
    fingerprint = fingerprints.or_none(item)
    return None if fingerprint is None else parts.find(item.video, fingerprint)


def _gather(
    task: Task,
    existing: _Existing | None,
    done: Mapping[MediaInput, Part],
    failed: Sequence[MediaInput],
    fingerprints: Fingerprints,
) -> Summary:
    """Writes the rows of all videos, sorted by video id, as one table."""
    made = {item.video: fingerprints.of(item) for item in done}
    problems = {item.video: part.problem for item, part in done.items() if part.problem}
    for item, part in done.items():
        if part.problem:
            log.error("%s: %s; the rows of its decodable frames are kept.", item.path, part.problem)
    sources: dict[str, Callable[[], Iterator[pa.Table]]] = {}
    if existing is not None:
        sources.update(existing.kept_videos(replaced=set(made)))
        problems = {**{video: why for video, why in existing.problems.items() if video not in made}, **problems}
        made = {**existing.inputs, **made}
    for part in done.values():
        sources.update(zip(part.videos, map(_tables_of, part.tables), strict=True))
    facts = {
        **task.facts,
        "inputs": dict(sorted(made.items())),
        "failed": {item.video: fingerprints.or_none(item) for item in sorted(failed, key=lambda item: item.video)},
        "incomplete": dict(sorted(problems.items())),
    }
    with TableWriter(task.output, with_metadata(task.schema, kind=task.kind, **facts), force=True) as writer:
        for video in sorted(sources):
            for rows in sources[video]():
                writer.write(rows)
    return Summary(len(sources), writer.rows, tuple(facts["failed"]), tuple(problems))


def _tables_of(path: Path) -> Callable[[], Iterator[pa.Table]]:
    def tables() -> Iterator[pa.Table]:
        with TableReader(str(path)) as reader:
            for batch in reader.batches():
                yield pa.Table.from_batches([batch])

    return tables


class _Existing:
    """An output that is there already: made by the same settings, and what of the inputs it lacks."""

    def __init__(self, reader: TableReader, missing: Sequence[MediaInput]) -> None:
        self._reader, self.missing = reader, list(missing)
        self.inputs: Mapping[str, str] = reader.metadata["inputs"]
        self.problems: Mapping[str, str] = reader.metadata["incomplete"]
        self.failed = tuple(reader.metadata["failed"])
        self.incomplete = tuple(self.problems)

    @classmethod
    def of(cls, task: Task, inputs: Sequence[MediaInput], fingerprints: Fingerprints) -> _Existing | None:
        """None where the output is to be made anew; raises where it may not be replaced."""
        if task.force or not Path(task.output).is_file():
            refuse_existing(task.output, force=True)
            return None
        reader = TableReader(task.output)
        metadata = reader.metadata
        settings = {key: value for key, value in metadata.items() if key not in ("version", *_OF_THE_INPUTS)}
        if "inputs" not in metadata or settings != json.loads(json.dumps({"kind": task.kind, **task.facts})):
            raise AffcliError(f"{task.output}: exists already, made with other settings. Replace it with --force.")
        found = {item.video: fingerprints.or_none(item) for item in inputs}
        stored = {**metadata["failed"], **metadata["inputs"]}
        if task.update:
            return cls(reader, [item for item in inputs if metadata["inputs"].get(item.video) != found[item.video]])
        if stored != found:
            raise AffcliError(
                f"{task.output}: exists already, made from other inputs. Add new or changed ones with --update, or "
                "replace it with --force."
            )
        return cls(reader, [])

    def kept_videos(self, *, replaced: set[str]) -> dict[str, Callable[[], Iterator[pa.Table]]]:
        """The videos whose inputs are not extracted again, each with its rows."""
        by_video = RowsByVideo(self._reader, "video", self._reader.columns)
        kept = [video for video in by_video.ids if self._owner(video) not in replaced]
        return {video: partial(_rows_of, by_video, video) for video in kept}

    def _owner(self, video: str) -> str:
        """The input that gave a video: itself, or `X` for the tracked person `X#2`."""
        return video if video in self.inputs else video.rpartition("#")[0]


def _rows_of(by_video: RowsByVideo, video: str) -> Iterator[pa.Table]:
    yield by_video.rows(video)
