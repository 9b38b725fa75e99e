"""The one engine of resumable work: many inputs become an output, whatever interrupts it.

    look at what exists → plan → do → gather

What an output is, a table or a folder of tables, is told by an `Output`; how an input becomes a part of it, by a
`Work`. Here is decided what is done, continued, tried again, kept, replaced or refused. Before the folder of unfinished
work is claimed and the plan is made, nothing is removed or replaced, and what stands under the output's name is
replaced only by what is complete. Any number of processes may run the same job: each works on inputs that no other has
claimed, and the last one gathers. This module knows neither pictures nor sound nor torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from affcli.errors import NothingDoneError, StoppedError, StorageError, counted, listed
from affcli.files.inputs import MediaInput
from affcli.files.outputs import remove_leftovers
from affcli.jobs.about import About, about_unfinished
from affcli.jobs.claims import LostError
from affcli.jobs.ends import End
from affcli.jobs.fingerprints import Fingerprints
from affcli.jobs.parts import Parts
from affcli.jobs.plan import Existing, Failure, Plan, digest_of, plan_of
from affcli.jobs.progress import Progress
from affcli.jobs.status import StatusFile
from affcli.jobs.workers import SILENT_BEATS, State
from affcli.tables.pandas_kept_out import keep_pandas_out

log = logging.getLogger(__name__)

CHANGED = "the file changed while it was read"


@dataclass(frozen=True)
class Ended:
    """An input is done: `failure` says why it gives nothing, `problem` what it may lack."""

    item: MediaInput
    problem: str | None = None
    failure: str | None = None


class Work(Protocol):
    """Does inputs one after the other, leaving rows in the parts, and tells of each as it ends.

    Takes an input only when it gets to it, since it is claimed from then on. `progress` is told of frames.
    """

    def __call__(self, items: Iterable[MediaInput], parts: Parts, progress: Progress) -> Generator[Ended]:
        """Works on the items in their order."""


class Output(Protocol):
    """What is made: a table, or a folder of tables."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    @property
    def parts(self) -> Path:
        """Where unfinished work is kept."""

    @property
    def status(self) -> Path:
        """Where it is told how far the work has come (status.py)."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides, beside the inputs, what is in it."""

    @property
    def gathers_rows(self) -> bool:
        """Whether the rows in the parts are needed until the end."""

    def look(self) -> Existing:
        """What stands under the name. Raises AffcliError for what can never be replaced."""

    def refuse_strangers(self, inputs: Sequence[MediaInput]) -> None:
        """Raises ForeignError where something would be overwritten that affcli has not made."""

    def prepare(self) -> None:
        """Makes what the parts lie in."""

    def holds(self, item: MediaInput, end: End, parts: Parts) -> bool:
        """Whether all that a finished input gave is there, and whole."""

    def gather(
        self, plan: Plan, done: Mapping[MediaInput, End], failed: Mapping[str, Failure], parts: Parts
    ) -> tuple[int, int]:
        """Completes the output; the numbers of its videos and rows."""

    def leave(self) -> None:
        """Takes back what `prepare` has made and nothing was put into."""


@dataclass(frozen=True)
class Job:
    """An output to make, and how what is there is treated."""

    output: Output
    force: bool = False
    update: bool = False
    fail_fast: bool = False
    beside: Callable[[MediaInput], bytes] = lambda item: b""  # what an input's rows depend on besides its own content
    shard: Mapping[str, Any] = field(default_factory=dict)  # where the inputs are one shard of several: which


@dataclass(frozen=True)
class Summary:
    """What was made. `inputs` counts those that the output tells of; `failed` and `incomplete` are their video ids."""

    inputs: int = 0
    videos: int = 0
    rows: int = 0
    failed: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    outcome: Literal["written", "nothing to do", "left to others"] = "written"
    left: int = 0  # inputs that other processes are working on


def run(job: Job, inputs: Sequence[MediaInput], work: Work, progress: Progress) -> Summary:
    """Does what is not done yet, and gathers it once nothing is left.

    Raises OutputExistsError where what is there may not be replaced, BusyError where another process makes something
    else of it, NothingDoneError where no input could be used.
    """
    keep_pandas_out()
    fingerprints = Fingerprints(job.beside)
    while True:
        plan = _planned(job, inputs, fingerprints)
        if plan.nothing:
            _tidy(job, fingerprints)
            return _summed_up(job.output.look(), plan, inputs, outcome="nothing to do")
        job.output.prepare()
        try:
            summary = _take_part(job, inputs, fingerprints, work, progress)
        finally:
            job.output.leave()
        if summary is not None:
            return summary


def _take_part(
    job: Job, inputs: Sequence[MediaInput], fingerprints: Fingerprints, work: Work, progress: Progress
) -> Summary | None:
    """None where what is to be done must be looked at again, since others have done it or have taken this over."""
    with Parts(job.output.parts, fingerprints, gathers_rows=job.output.gathers_rows) as parts:
        this = _Run(job, inputs, fingerprints, parts, progress)
        try:
            return this.run(work)
        except StorageError as error:
            if not (isinstance(error, LostError) or parts.workers.lost):
                raise
            if parts.was_removed():
                return Summary(outcome="left to others") if this.has_begun else None
            log.warning("this process did not move for so long that others took over its work; it joins them again.")
            return None


def _planned(job: Job, inputs: Sequence[MediaInput], fingerprints: Fingerprints) -> Plan:
    unfinished = about_unfinished(job.output.parts)
    forced = unfinished is not None and unfinished.forced and unfinished.settings == _as_stored(job.output.settings)
    if not job.force and not forced:
        job.output.refuse_strangers(inputs)
    existing = job.output.look()
    how = {"force": job.force or forced, "update": job.update}
    return replace(plan_of(existing, inputs, fingerprints, name=job.output.name, **how), shard=job.shard)


def _as_stored(settings: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(settings))


def _tidy(job: Job, fingerprints: Fingerprints) -> None:
    """Removes the parts of an output that was completed by a process that was killed right after that."""
    unfinished = about_unfinished(job.output.parts)
    if unfinished is None or unfinished.settings != _as_stored(job.output.settings):
        return
    with Parts(job.output.parts, fingerprints) as parts, parts.alone():
        parts.join()
        if parts.first:
            remove_leftovers(parts.path.parent)
            StatusFile(job.output.status, 0).complete(job.output.look())
            parts.remove()


def _summed_up(existing: Existing, plan: Plan, inputs: Sequence[MediaInput], **made: Any) -> Summary:
    """Inputs that are gone are named, and count as failed, in every run; the output still tells what it holds.

    What `--update` keeps of inputs that are not named any more, which may have been renamed, is told in every run, too.
    """
    if others := sorted(existing.known.keys() - {item.video for item in inputs}):
        log.warning(
            "the output keeps %s of earlier runs that this one does not name: %s.",
            counted(len(others), "input"), listed(others),
        )  # fmt: skip
    for item in plan.gone:
        log.error("%s: No such file or directory; what was made of it before stays.", item.path)
    failed = (*existing.failed, *(item.video for item in plan.gone))
    return Summary(len(existing.known), failed=failed, incomplete=tuple(existing.problems), **made)


def _waits(parts: Parts, states: Mapping[str | None, State], left: int) -> str:
    unsure = [token for token, state in states.items() if token is not None and state is State.UNSURE]
    who = next((str(worker) for token in unsure if (worker := parts.workers.worker(token)) is not None), "others")
    return f"waiting until it is clear whether others ({who}) are at work on the {counted(left, 'input')} left."


class _Run:
    """One process's part in the job."""

    def __init__(
        self, job: Job, inputs: Sequence[MediaInput], fingerprints: Fingerprints, parts: Parts, progress: Progress
    ) -> None:
        self._job, self._inputs, self._fingerprints = job, inputs, fingerprints
        self._parts, self._progress = parts, progress
        self._plan = Plan(inputs)
        self._checked: set[str] = set()  # inputs whose end was found to be true
        self._status = StatusFile(job.output.status, len(inputs))
        self.has_begun = False

    def run(self, work: Work) -> Summary | None:
        """None where there is nothing to do any more."""
        with self._parts.alone():
            if not self._begin():
                return None
        self.has_begun = True
        while True:
            self._status.tell(self._plan, self._parts, at_once=True)
            self._do(work)
            with self._parts.alone():
                left = self._left()
                if not left:
                    return self._gather()
                self._status.tell(self._plan, self._parts, at_once=True)
            if not self._may_be_had(left):
                return Summary(outcome="left to others", left=len(left))

    def _begin(self) -> bool:
        """Takes stock; False where there is nothing to do. Only this process, or others that do the same, go on."""
        self._parts.join()
        self._plan = _planned(self._job, self._inputs, self._fingerprints)
        if self._plan.nothing:
            if self._parts.first:
                self._status.complete(self._job.output.look())
                self._parts.remove()
            return False
        about = About(self._job.output.settings, digest_of(self._inputs, update=self._job.update), self._plan.forced)
        begun = self._parts.agree_on(about)
        if self._parts.first:
            for item in self._plan.todo:
                self._reopen_if_not_done(item)
        self._tell(begun)
        return True

    def _reopen_if_not_done(self, item: MediaInput) -> None:
        """What failed is tried again, and so is what was done to another state of the input, or is damaged."""
        end = self._parts.ended(item)
        if end is not None and (end.failure is not None or not self._parts.is_of(item) or not self._is_true(item, end)):
            self._parts.reopen(item)

    def _is_true(self, item: MediaInput, end: End) -> bool:
        """Whether an input is done as its end says, looked at once."""
        if item.video not in self._checked:
            if end.failure is None and not self._job.output.holds(item, end, self._parts):
                log.warning("%s: what was made of it before is damaged or gone; it is done again.", item.path)
                return False
            self._checked.add(item.video)
        return True

    def _tell(self, begun: bool) -> None:
        todo = self._left()
        left = len(todo)
        self._progress.begins(todo, of=len(self._inputs))
        if self._parts.first and (begun or self._plan.continues):
            done = len(self._inputs) - left
            log.warning("going on with unfinished work: %d of %d inputs are done.", done, len(self._inputs))

    def _left(self) -> list[MediaInput]:
        """The inputs that are not done. What turns out not to be true is not done, either."""
        left = []
        for item in self._plan.todo:
            end = self._parts.ended(item)
            if end is not None and not self._is_true(item, end):
                self._parts.reopen(item)
                end = None
            if end is None:
                left.append(item)
        return left

    # --- do ----------------------------------------------------------------------------------------------------------

    def _do(self, work: Work) -> None:
        """Works on what no other process works on, until nothing of that is left."""
        with closing(work(self._taken(), self._parts, self._progress)) as working:
            for ended in working:
                self._end(ended)

    def _taken(self) -> Iterator[MediaInput]:
        for item in self._plan.todo:
            if self._parts.ended(item) is None and self._parts.take(item):
                yield item

    def _may_be_had(self, left: Sequence[MediaInput]) -> bool:
        """Whether any of what is left has ended or lost its process; False as soon as others are at work on it.

        One on another machine, or one that was stopped, is watched for so long that it would have turned out to be
        gone. So long, too, a file system may show an old state: two processes that end at once, each of which believed
        that the other one goes on, would leave the output to nobody.
        """
        workers, began, told = self._parts.workers, self._parts.workers.beats, False
        while True:
            states = dict(map(self._parts.holder, left))
            if State.GONE in states.values() or self._parts.any_ended(left):
                return True
            if State.UNSURE not in states.values() or workers.beats - began > SILENT_BEATS:
                return False
            if not told:
                log.warning("%s", _waits(self._parts, states, len(left)))
                told = True
            workers.wait_a_beat()
            self._parts.refuse_lost()

    def _end(self, ended: Ended) -> None:
        item, failure = ended.item, ended.failure
        if failure is None and self._parts.has_changed(item):
            failure = CHANGED
        if failure is not None:
            log.error("%s", failure if str(item.path) in failure else f"{item.path}: {failure}")
            failure = failure.removeprefix(f"{item.path}: ")
        self._status.tell(self._plan, self._parts)  # before the end, after which another process may gather
        self._parts.end(item, problem=ended.problem, failure=failure, rows=self._job.output.gathers_rows)
        self._checked.add(item.video)
        self._parts.release(item)
        self._progress.ended(item, ended.problem, failure)
        if failure is not None and self._job.fail_fast:
            raise StoppedError("stopped at the first failure (--fail-fast); what is done is kept for the next run.")

    # --- gather ------------------------------------------------------------------------------------------------------

    def _gather(self) -> Summary:
        ends = {item: end for item in self._plan.todo if (end := self._parts.ended(item)) is not None}
        done = {item: end for item, end in ends.items() if end.failure is None}
        failed = {
            item.video: Failure(self._fingerprints.or_none(item), end.failure)
            for item, end in ends.items()
            if end.failure is not None
        }
        if not done and not self._plan.kept and not self._plan.shard:  # a shard tells `gather` of what failed
            self._status.complete(self._job.output.look())
            self._parts.remove()
            raise NothingDoneError("none of the inputs could be used; nothing is written.")
        remove_leftovers(self._parts.path.parent)
        failed = dict(sorted({**self._plan.failed, **failed}.items()))
        videos, rows = self._job.output.gather(self._plan, done, failed, self._parts)
        existing = self._job.output.look()
        self._status.complete(existing)
        self._parts.remove()
        return _summed_up(existing, self._plan, self._inputs, videos=videos, rows=rows)
