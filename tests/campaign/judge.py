"""What a run on a damaged input must end in, and the worker processes that run it."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
STATUSES = (0, 1, 2, 3)  # of design.md; 130 and 141 need a signal or a reader that has gone
_TEMPORARY = re.compile(r"\.affcli-[0-9a-f]{16}(-[0-9a-f]{8})?\.(tmp|old)$")
_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # control characters and escapes, but for tab and newline


@dataclass(frozen=True)
class Bounds:
    """What one run may take: seconds of CPU, seconds by the clock until it counts as hanging, bytes above the start."""

    cpu_s: float = 10.0
    wall_s: float = 60.0
    memory: int = 512 << 20


@dataclass(frozen=True)
class Run:
    """One run: the command, the name of what is damaged, and what may be there afterwards.

    `outputs` are the names that the command may make in its folder, `working` what it may leave for the next run;
    `check` looks at both and at what was said, after an exit status of 0 or 3, and tells what is wrong. `names`: one of
    these may stand in an error for what is damaged. `for_people`: standard output is read by people, so that no
    control characters may be in it. `several`: each of many inputs may have a line.
    """

    arguments: Sequence[str]
    damaged: str
    outputs: Sequence[str] = ()
    check: Callable[[Path, str], str | None] = lambda folder, told: None
    names: Sequence[str] = ()
    stdin: str | None = None
    working: Sequence[str] = ()
    several: bool = False
    for_people: bool = False
    bounds: Bounds = Bounds()


@dataclass
class Verdict:
    """How a run ended: its exit status or `died of …`, `hangs`; `faults` is empty where all is as it must be."""

    ending: str
    faults: list[str]
    told: str
    cpu_s: float = 0.0
    memory: int = 0


class Worker:
    """A process that runs commands; started anew when one has killed it or hangs."""

    def __init__(
        self,
        folder: Path,
        *,
        user: int | None = None,
        python: str = sys.executable,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        """`folder` is where commands run; beside it stand their standard output and error, and nothing else.

        `user` is a number, of who runs them; `environment` is changed for them, None takes a variable away.
        """
        self.folder, self._user, self._python, self._environment = folder, user, python, environment or {}
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("stdout", "stderr"):
            (folder.parent / name).touch()
            if user is not None:
                os.chown(folder.parent / name, user, user)
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        (jobs, self._jobs), (self._answers, answers) = os.pipe(), os.pipe()
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        changed = {**os.environ, **own, **self._environment}
        environment = {name: value for name, value in changed.items() if value is not None}
        command = [self._python, "-m", "campaign.worker", str(jobs), str(answers)]
        self._process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            pass_fds=(jobs, answers),
            stdin=subprocess.DEVNULL,
            **as_user(self._user),
        )
        os.close(jobs)
        os.close(answers)

    def run(self, one: Run) -> dict[str, Any]:
        """The worker's answer; `status` says so where it died or hung."""
        if self._process is None:
            self._start()
        logs = self.folder.parent
        if one.stdin and (self.folder / one.stdin).is_dir():
            raise ValueError(f"{one.stdin}: a folder cannot be standard input")
        job = {"arguments": list(one.arguments), "stdin": one.stdin and str(self.folder / one.stdin)}
        job |= {"stdout": str(logs / "stdout"), "stderr": str(logs / "stderr")}
        os.write(self._jobs, json.dumps(job).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], one.bounds.wall_s)
            more = os.read(self._answers, 1 << 16) if ready else b""
            if not more:
                return {"status": self._died(hangs=not ready), "cpu_s": 0.0, "bytes": 0}
            answer += more
        found: dict[str, Any] = json.loads(answer)
        return found

    def _died(self, *, hangs: bool) -> str:
        assert self._process is not None
        if hangs:
            self._process.kill()
        status = self._process.wait()
        self.close()
        return "hangs" if hangs else f"died of signal {-status}" if status < 0 else f"ended with {status}"

    def close(self) -> None:
        if self._process is None:
            return
        os.close(self._jobs)
        os.close(self._answers)
        self._process.wait(timeout=10)
        self._process = None


def as_user(user: int | None) -> dict[str, Any]:
    """What subprocess is told so that a process is of that user."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def judged(worker: Worker, one: Run) -> Verdict:
    """Runs it, and says what is wrong with how it ended. What it made is removed."""
    before = set(everything(worker.folder))
    answer = worker.run(one)
    told = (worker.folder.parent / "stderr").read_text(errors="backslashreplace")
    printed = (worker.folder.parent / "stdout").read_text(errors="backslashreplace")
    made = [path for path in everything(worker.folder) if path not in before]
    faults = [*_of_ending(answer, told, one), *_of_files(answer["status"], made, one)]
    if one.for_people and _HARMFUL.search(printed):
        faults.append("control characters on standard output")
    if answer["status"] in (0, 3) and not faults and (wrong := one.check(worker.folder, told)):
        faults.append(wrong)
    for name in sorted(made, reverse=True):  # what is inside comes first
        path = worker.folder / name
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    return Verdict(str(answer["status"]), faults, told, answer["cpu_s"], answer["bytes"])


def everything(folder: Path) -> list[str]:
    """All files and folders below a folder, and beside it where only logs may be."""
    inside = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    return inside + [f"../{path.name}" for path in folder.parent.iterdir()]


def _of_ending(answer: dict[str, Any], told: str, one: Run) -> list[str]:
    status, faults = answer["status"], []
    if status not in STATUSES:
        faults.append(f"status {status}")
    for sign in ("Traceback", "internal error", "Warning:", "Error in sys", "Exception ignored"):
        if sign in told:
            faults.append(sign)
    if _HARMFUL.search(told):
        faults.append("control characters on standard error")
    errors = [line for line in told.splitlines() if not re.match(r"affcli [\w-]+: note: ", line)]
    if odd := [line for line in errors if not line.startswith("affcli")]:
        faults.append(f"a line that is no message: {odd[0][:80]}")
    if status in (1, 2, 3) and not any(
        name in line for line in errors for name in (one.damaged, *one.names, *one.outputs)
    ):
        faults.append("the file is not named")
    if status in (1, 2) and len(errors) != 1 and not one.several:
        faults.append(f"{len(errors)} lines instead of one")
    if answer["cpu_s"] > one.bounds.cpu_s:
        faults.append(f"more than {one.bounds.cpu_s:g} s of CPU")
    if answer["bytes"] > one.bounds.memory:
        faults.append(f"more than {one.bounds.memory >> 20} MB of memory")
    return faults


def _of_files(status: object, made: Sequence[str], one: Run) -> list[str]:
    """What stands in the folder that may not stand there."""
    allowed = (*one.working, *(one.outputs if status in (0, 3) else ()))
    strange = [name for name in made if not any(name == a or name.startswith(f"{a}/") for a in allowed)]
    if left := [name for name in strange if _TEMPORARY.search(name.split("/")[-1])]:
        return [f"leaves {_TEMPORARY.sub('.…', left[0])}"]
    return [f"an output in spite of status {status}: {strange[0]}"[:100]] if strange else []
