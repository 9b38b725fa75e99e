"""Runs an extractor over many inputs and gathers one table: what is done is kept, what fails is named, nothing is lost.

An extractor is a function that takes the inputs still to do and a `Recorder`, and tells the recorder what becomes of
each. This module knows neither pictures nor sound nor torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from affcli.errors import AffcliError
from affcli.files.inputs import MediaInput, digest, identity
from affcli.files.outputs import refuse_existing, remove_leftovers
from affcli.jobs.parts import Part, Parts, PartWriter
from affcli.jobs.shares import ALONE, Share
from affcli.schema import with_metadata
from affcli.tables.by_video import RowsByVideo
from affcli.tables.reader import TableReader
from affcli.tables.writer import TableWriter

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
    outcome: Literal["written", "nothing to do", "share done"] = "written"
    left: int = 0  # inputs of other processes that are not done, where only the share is


class Fingerprints:
    """Content fingerprints of inputs and of what lies beside them, each computed once, when it is first asked for."""

    def __init__(self, beside: Callable[[MediaInput], bytes]) -> None:
        self._beside = beside
        self._known: dict[str, str] = {}
        self._known_beside: dict[str, str] = {}

    def of(self, item: MediaInput) -> str:
        """Raises AffcliError where the input cannot be read."""
        if item.video not in self._known:
            self._known[item.video] = self.now(item)
        return self._known[item.video]

    def now(self, item: MediaInput) -> str:
        """The same, of what the input holds by now."""
        return digest(item) + self._of_beside(item)

    def or_none(self, item: MediaInput) -> str | None:
        try:
            return self.of(item)
        except AffcliError:
            return None

    def identity(self, item: MediaInput) -> str:
        """What changes with an input's content and with what lies beside it. The input itself is not read."""
        return identity(item) + self._of_beside(item)

    def _of_beside(self, item: MediaInput) -> str:
        if item.video not in self._known_beside:
            beside = self._beside(item)
            text = f"+{blake2b(beside, digest_size=8).hexdigest()}" if beside else ""
            self._known_beside[item.video] = text
        return self._known_beside[item.video]


class Recording(Protocol):
    """What an extractor tells of each input: that it begins, and that it is finished or gives no rows."""

    def begin(self, item: MediaInput) -> PartWriter: ...
    def finish(self, item: MediaInput, problem: str | None) -> None: ...
    def fail(self, item: MediaInput, reason: str) -> None: ...


class Recorder:
    """Where an extractor leaves its rows, input by input: a Recording."""

    def __init__(self, parts: Parts, fingerprints: Fingerprints, *, fail_fast: bool) -> None:
        self._parts, self._fingerprints, self._fail_fast = parts, fingerprints, fail_fast
        self._begun: dict[str, PartWriter] = {}
        self.failed: set[str] = set()

    def begin(self, item: MediaInput) -> PartWriter:
        """Where the input's rows go, and how far it was done before. Raises AffcliError for what cannot be read."""
        known = self._fingerprints.identity(item)  # before it is read: what changes after this is noticed
        part = self._parts.begin(item.video, known, self._fingerprints.now(item))
        self._begun[item.video] = part
        return part

    def finish(self, item: MediaInput, problem: str | None) -> None:
        """All of the input's rows are written. One that has changed meanwhile has failed."""
        if item.path.exists() and self._fingerprints.identity(item) != self._begun[item.video].identity:
            self.fail(item, "the file changed while it was read")
        else:
            self._begun.pop(item.video).finish(problem)

    def fail(self, item: MediaInput, reason: str) -> None:
        """An input that gives no rows is named, and the others go on."""
        log.error("%s", reason if str(item.path) in reason else f"{item.path}: {reason}")
        self.failed.add(item.video)
        known = set()
        if (part := self._begun.pop(item.video, None)) is not None:
            part.leave()
            known.add(part.identity)
        with suppress(AffcliError):  # it is not there, and all processes see that
            known.add(self._fingerprints.identity(item))
        for either in known:
            self._parts.fail(item.video, either, reason)
        if self._fail_fast:
            raise AffcliError("stopped at the first failure (--fail-fast); what is done is kept for the next run.")

    def leave(self) -> None:
        """The work ends here, whatever is unfinished."""
        for part in self._begun.values():
            part.leave()


Extractor = Callable[[Sequence[MediaInput], Recorder], None]


def run(task: Task, inputs: Sequence[MediaInput], extractor: Extractor, share: Share = ALONE) -> Summary:
    """Extracts what is not done yet of this process's share, and writes the table once all shares are done."""
    fingerprints = Fingerprints(task.beside)
    while True:
        existing = _Existing.of(task, inputs, fingerprints)
        if existing is not None and not existing.missing:
            return Summary(failed=existing.failed, incomplete=existing.incomplete, outcome="nothing to do")
        work = _Work(task, inputs if existing is None else existing.missing, existing, fingerprints, share)
        try:
            # The folder of parts goes when another process has completed the output; then that is what there is.
            if (todo := work.begin()) is not None:
                return work.run(todo, extractor)
        finally:
            work.parts.close()


class _Work:
    """One process's work on the inputs that the output lacks."""

    def __init__(
        self,
        task: Task,
        missing: Sequence[MediaInput],
        existing: _Existing | None,
        fingerprints: Fingerprints,
        share: Share,
    ) -> None:
        self._task, self._missing, self._existing, self._share = task, list(missing), existing, share
        self._fingerprints = fingerprints
        self.parts = Parts(task.output, {"kind": task.kind, **task.facts}, task.schema, share=share.rank)
        self._identities: dict[MediaInput, str | None] = {}

    def begin(self) -> list[MediaInput] | None:
        """What of this share is to be done, also what failed before; None where the parts have gone."""
        with self.parts.alone():
            if self.parts.gone:
                return None
            self._identities = {item: self._identity(item) for item in self._missing}
            done = {item for item in self._missing if (part := self._find(item)) and not part.failure}
            todo = [item for item in self._share.of(self._missing) if item not in done]
            for item in todo:
                self._forget_failure(item)
            if self.parts.begun and self._share.rank == 0:
                log.warning("going on with unfinished work: %d of %d inputs are done.", len(done), len(self._missing))
        return todo

    def run(self, todo: Sequence[MediaInput], extractor: Extractor) -> Summary:
        recorder = Recorder(self.parts, self._fingerprints, fail_fast=self._task.fail_fast)
        try:
            extractor(todo, recorder)
        finally:
            recorder.leave()
        with self.parts.alone():
            return Summary(outcome="share done") if self.parts.gone else self._gather(recorder.failed)

    def _gather(self, failed_here: Collection[str]) -> Summary:
        """The table, if no other process has still to do its share: the last one that ends is the one that writes."""
        ends = {item: self._end(item) for item in self._missing if item.video not in failed_here}
        if left := sum(part is None for part in ends.values()):
            return Summary(outcome="share done", left=left)
        done = {item: part for item, part in ends.items() if part is not None and not part.failure}
        if not done and self._existing is None:
            self.parts.remove()
            raise AffcliError("none of the inputs could be used; nothing is written.")
        failed = [item for item in self._missing if item not in done]
        remove_leftovers(self._task.output)
        summary = _gather(self._task, self._existing, done, failed, self._fingerprints)
        self.parts.remove()
        return summary

    def _identity(self, item: MediaInput) -> str | None:
        try:
            return self._fingerprints.identity(item)
        except AffcliError:
            return None

    def _find(self, item: MediaInput) -> Part | None:
        known = self._identities[item]
        return None if known is None else self.parts.find(item.video, known)

    def _forget_failure(self, item: MediaInput) -> None:
        if (part := self._find(item)) is not None and part.failure:
            self.parts.forget(item.video, self._identities[item] or "")

    def _end(self, item: MediaInput) -> Part | None:
        """What became of an input; None where another process is to do it still."""
        if (part := self._find(item)) is None:  # changed since this process began, and done by another one after that
            self._identities[item] = self._identity(item)
            part = self._find(item)
        cannot_be_used = self._identities[item] is None
        return Part(failure="it cannot be read") if part is None and cannot_be_used else part


def _gather(
    task: Task,
    existing: _Existing | None,
    done: Mapping[MediaInput, Part],
    failed: Collection[MediaInput],
    fingerprints: Fingerprints,
) -> Summary:
    """Writes the rows of all videos, sorted by video id, as one table."""
    made = {item.video: part.fingerprint for item, part in done.items()}
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
        sources.update({video: partial(part.tables, video) for video in part.videos})
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
            made = metadata["inputs"]
            return cls(reader, [i for i in inputs if i.video not in made or made[i.video] != found[i.video]])
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
