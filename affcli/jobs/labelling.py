"""Videos → a folder of frame tables: the whole chain, an input at a time, with what is done kept and failures named.

This module decides; seeing, hearing and naming are the work of a `Labeller` (in models/label/). Pictures of several
inputs are worked on together, so that batches run across their borders; when an input's pictures are done, its sound
is encoded, both are joined, and its tables are written. Until then its features lie in parts beside the tables, so
that work that was ended goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.errors import AffcliError, listed
from affcli.files.inputs import MediaInput
from affcli.jobs.job import Fingerprints, Recording, Summary
from affcli.jobs.label_folder import LabelFolder, Source
from affcli.jobs.stream_features import PartFeatures
from affcli.jobs.stream_work import Marks, StreamKind, StreamWork
from affcli.media.video import NO_PICTURE

log = logging.getLogger(__name__)

Advance = Callable[[int, int], None]  # inputs and frames that are done

DEFAULT_FPS: Final = 25.0  # of sound without a picture
_CHANGED: Final = "the file changed while it was read"


class Labeller(Protocol):
    """Encoders and network, loaded once. `settings` decide what a frame table holds, and stand in its metadata."""

    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def visual(self) -> StreamKind: ...
    @property
    def audio(self) -> StreamKind: ...

    def see(self, items: Sequence[MediaInput], recorder: Recording, advance: Advance) -> None:
        """Visual features of the inputs."""

    def hear(
        self, item: MediaInput, recorder: Recording, times_s: NDArray[np.float64] | None, advance: Advance
    ) -> None:
        """Audio features of one input, for frames at these times [n]; at a fixed rate where there are no pictures."""

    def name(self, visual: PartFeatures | None, audio: PartFeatures | None) -> Iterator[tuple[str, pa.Table]]:
        """Frame tables by video, of one input."""


@dataclass(frozen=True)
class LabelTask:
    """One folder to make."""

    folder: str
    force: bool = False
    update: bool = False
    fail_fast: bool = False


def refuse_no_folder(folder: str) -> None:
    """Raises where a folder of results cannot be made, before anything is loaded."""
    path = Path(folder)
    if not folder or (path.exists() and not path.is_dir()):
        raise AffcliError(f"{folder or 'the empty name'}: is no folder; name one with -o.")
    if not path.parent.is_dir():
        raise AffcliError(f"{path}: the folder {path.parent} does not exist.")


def run(task: LabelTask, inputs: Sequence[MediaInput], labeller: Labeller, advance: Advance) -> Summary:
    """Labels what is not done yet, and sums up the folder. Raises AffcliError for a folder that may not be written."""
    fingerprints = Fingerprints(lambda item: b"")
    folder = _opened(task, labeller.settings)
    try:
        plan = _planned(task, folder, inputs, fingerprints)
        if plan.nothing:
            return Summary(failed=tuple(plan.failed), incomplete=folder.incomplete, outcome="nothing to do")
        advance(len(inputs) - len(plan.todo), 0)
        failed_now = _labelled(task, folder, plan.todo, labeller, fingerprints, advance)
        failed = {**plan.failed, **{item.video: fingerprints.or_none(item) for item in failed_now}}
        videos, rows = folder.sum_up(failed)
    finally:
        _remove_if_empty(folder.path)
    return Summary(videos, rows, tuple(failed), folder.incomplete)


# --- what there is already -------------------------------------------------------------------------------------------


def _opened(task: LabelTask, settings: Mapping[str, Any]) -> LabelFolder:
    """The folder, made where it is missing; with --force what was finished, or made otherwise, is gone."""
    path = Path(task.folder)
    path.mkdir(exist_ok=True)
    folder = LabelFolder(path, settings)
    if task.force and (folder.complete or folder.other_settings):
        folder.clear()
    if folder.other_settings:
        raise AffcliError(f"{path}: holds tables made with other settings. Replace them with --force.")
    return folder


@dataclass(frozen=True)
class _Plan:
    """What is to be done; `failed` are inputs that failed before and are not tried again."""

    todo: Sequence[MediaInput]
    failed: Mapping[str, str | None]
    nothing: bool = False


def _planned(task: LabelTask, folder: LabelFolder, inputs: Sequence[MediaInput], fingerprints: Fingerprints) -> _Plan:
    """The inputs that have no tables. Raises AffcliError where the folder holds what may not be replaced."""
    foreign = None if task.force else folder.foreign([item.video for item in inputs])
    if foreign is not None:
        raise AffcliError(f"{foreign}: exists already, and affcli label has not made it. Replace it with --force.")
    if folder.complete and not task.update:
        _refuse_other_inputs(folder, inputs, fingerprints)
    failed = {} if task.update else folder.failed
    known = folder.sources
    todo = [item for item in inputs if item.video not in failed and not _is_done(item, known, fingerprints)]
    if not folder.complete:
        _go_on(folder, inputs, todo, update=task.update)
    return _Plan(todo, failed, nothing=folder.complete and not todo)


def _refuse_other_inputs(folder: LabelFolder, inputs: Sequence[MediaInput], fingerprints: Fingerprints) -> None:
    if folder.inputs != {item.video: fingerprints.or_none(item) for item in inputs}:
        raise AffcliError(
            f"{folder.path}: holds the tables of other inputs. Add new or changed ones with --update, or replace them "
            "with --force."
        )


def _go_on(folder: LabelFolder, inputs: Sequence[MediaInput], todo: Sequence[MediaInput], *, update: bool) -> None:
    """What unfinished work has made of inputs that are not named now is no part of the result; the rest is kept."""
    strangers = [] if update else sorted(set(folder.sources) - {item.video for item in inputs})
    for video in strangers:
        folder.forget(video)
    if strangers:
        log.warning("%s: removed the tables of inputs that are not named now: %s.", folder.path, listed(strangers))
    if len(todo) < len(inputs):
        done = len(inputs) - len(todo)
        log.warning("going on with unfinished work: %d of %d inputs are done.", done, len(inputs))


def _is_done(item: MediaInput, known: Mapping[str, Source], fingerprints: Fingerprints) -> bool:
    return item.video in known and known[item.video].fingerprint == fingerprints.or_none(item)


def _remove_if_empty(path: Path) -> None:
    if not any(path.iterdir()):
        path.rmdir()


# --- the work --------------------------------------------------------------------------------------------------------


def _labelled(
    task: LabelTask,
    folder: LabelFolder,
    todo: Sequence[MediaInput],
    labeller: Labeller,
    fingerprints: Fingerprints,
    advance: Advance,
) -> list[MediaInput]:
    """Makes the tables of the inputs; returns those that failed. What is unfinished when it raises is kept."""
    work = _Work(folder, labeller, Marks(fingerprints), advance, fail_fast=task.fail_fast)
    try:
        folder.remove_leftovers()
        work.run(todo)
        work.remove()
    finally:
        work.close()
    return work.failed


class _Work:
    """Takes inputs through the chain."""

    def __init__(
        self, folder: LabelFolder, labeller: Labeller, marks: Marks, advance: Advance, *, fail_fast: bool
    ) -> None:
        self._folder, self._labeller, self._marks, self._advance = folder, labeller, marks, advance
        self._fail_fast = fail_fast
        self.failed: list[MediaInput] = []
        self._unheard: str | None = None
        self._visual = StreamWork(folder.path / "visual", labeller.visual, marks, self._seen)
        self._audio = StreamWork(folder.path / "audio", labeller.audio, marks, self._heard)

    def run(self, items: Sequence[MediaInput]) -> None:
        unseen = []
        for item in items:
            if self._visual.finished(item) is None:
                unseen.append(item)
            else:  # the work was ended after its pictures
                self._marks.take(item)
                self._seen(item, None)
                self._advance(1, 0)
        self._labeller.see(unseen, self._visual, self._advance)

    def _seen(self, item: MediaInput, unseen: str | None) -> None:
        """An input's pictures are done, or there are none: all that comes after them."""
        visual = self._visual.finished(item) if unseen is None else None
        audio, unheard = self._sound_of(item, visual)
        if self._marks.has_changed(item):
            self._fail(item, _CHANGED)
        elif visual is None and audio is None:
            self._fail(item, _both(unseen, unheard))
        else:
            self._write(item, visual, audio, _problem(visual, audio, unseen, unheard))
        self._visual.forget(item)
        self._audio.forget(item)

    def _sound_of(self, item: MediaInput, visual: PartFeatures | None) -> tuple[PartFeatures | None, str | None]:
        """The input's sound, or why there is none; a folder of pictures has none, and nothing is to be said."""
        if item.kind == "pictures":
            return None, None
        self._unheard = None
        if self._audio.finished(item) is None:
            times_s = None if visual is None else visual.read_times(visual.videos[0])
            self._labeller.hear(item, self._audio, times_s, self._only_frames if visual is None else _nothing)
        return (None, self._unheard) if self._unheard else (self._audio.finished(item), None)

    def _heard(self, item: MediaInput, unheard: str | None) -> None:
        self._unheard = unheard

    def _only_frames(self, inputs: int, frames: int) -> None:
        self._advance(0, frames)

    def _write(
        self, item: MediaInput, visual: PartFeatures | None, audio: PartFeatures | None, problem: str | None
    ) -> None:
        videos = [item.video] if visual is None else visual.videos
        source = Source(item.video, self._marks.of(item).fingerprint, tuple(videos), problem)
        face = sound = False
        for video, rows in self._labeller.name(visual, audio):
            self._folder.write(source, video, rows)
            face |= pc.any(rows["face"]).as_py()
            sound |= pc.any(rows["audio"]).as_py()
        if face or sound:
            self._folder.forget(item.video, but=videos)
            self._tell(item, visual, face=face, sound=sound, problem=problem)
        else:
            self._folder.forget(item.video)
            self._fail(item, _both(problem, "neither a face nor sound in it: there is nothing to label"))

    def _tell(
        self, item: MediaInput, visual: PartFeatures | None, *, face: bool, sound: bool, problem: str | None
    ) -> None:
        """One line on what an input lacks."""
        if problem is not None:
            log.error("%s: %s; what could be decoded is labelled.", item.path, problem)
        elif visual is None:
            log.warning("%s: no picture in it; its sound alone is labelled.", item.path)
        elif not face:
            log.warning("%s: no face in any frame; its sound alone is labelled.", item.path)
        elif not sound and item.kind == "file":
            log.warning("%s: no sound in it; its picture alone is labelled.", item.path)

    def _fail(self, item: MediaInput, reason: str) -> None:
        log.error("%s: %s", item.path, reason)
        self.failed.append(item)
        if self._fail_fast:
            raise AffcliError("stopped at the first failure (--fail-fast); what is done is kept for the next run.")

    def remove(self) -> None:
        """All is done, and no part is needed."""
        self._visual.remove()
        self._audio.remove()

    def close(self) -> None:
        self._visual.close()
        self._audio.close()


def _nothing(inputs: int, frames: int) -> None:
    """Sound beside pictures, whose frames were counted."""


def _problem(
    visual: PartFeatures | None, audio: PartFeatures | None, unseen: str | None, unheard: str | None
) -> str | None:
    """Why frames, or one of the streams, may be missing. That there is no picture at all is no problem of the sound."""
    decoded = [stream.problem for stream in (visual, audio) if stream is not None]
    return _both(*decoded, None if unseen == NO_PICTURE else unseen, unheard) or None


def _both(*reasons: str | None) -> str:
    """Each reason once."""
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))
