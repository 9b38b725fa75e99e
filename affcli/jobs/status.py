"""What of a job is done, failed and left, by whom and since when, for people and programs: `status.json`.

All processes write it, each time the whole of it, under a temporary name first: the last one to write is right. When
the output is complete it tells nothing but what is in the output, so it has the same bytes however that was made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from affcli import __version__
from affcli.files.outputs import create_temporary
from affcli.jobs import workers
from affcli.jobs.parts import Parts
from affcli.jobs.plan import Existing, Plan
from affcli.jobs.workers import State, Workers

MARK: Final = {"affcli": "status"}
_COST: Final = 50  # pauses are so many times as long as writing takes


@dataclass
class StatusFile:
    """The file of one job; `inputs` is how many there are in all."""

    path: Path
    inputs: int
    _due_s: float = field(default=0.0, init=False)

    def tell(self, plan: Plan, parts: Parts, *, at_once: bool = False) -> None:
        """Says how far all processes have come, now and then. That it cannot be written stops nothing."""
        began_s = time.monotonic()
        if began_s < self._due_s and not at_once:
            return
        parts.refresh()
        with suppress(OSError):
            _write(self.path, _working(self.inputs, plan, parts))
        now_s = time.monotonic()
        self._due_s = now_s + max(workers.BEAT_S, _COST * (now_s - began_s))

    def complete(self, existing: Existing) -> None:
        """Says what the output holds; nothing where there is none."""
        with suppress(OSError):
            if existing.complete:
                _write(self.path, _complete(existing))
            else:
                self.path.unlink(missing_ok=True)


def is_status(path: Path) -> bool:
    """Whether a file is one of these, not one of somebody else's of that name."""
    try:
        return bool(json.loads(path.read_bytes()).get("affcli") == MARK["affcli"])
    except (OSError, ValueError, AttributeError):
        return False


def read_status(path: Path, parts: Path) -> dict[str, Any] | None:
    """What the file says, without the processes that are known to be gone; `interrupted` where none is left."""
    if not is_status(path):
        return None
    status: dict[str, Any] = json.loads(path.read_bytes())
    if status["state"] == "working":
        observer = Workers(parts / "workers")
        there = [one for one in status["workers"] if observer.state(one["token"], judge=False) is not State.GONE]
        status["workers"] = there
        status["state"] = "working" if there else "interrupted"
    return status


def _working(inputs: int, plan: Plan, parts: Parts) -> dict[str, Any]:
    done = inputs - len(plan.todo) - len(plan.failed)
    failed = {video: failure.reason for video, failure in plan.failed.items()}
    by: dict[str, dict[str, Any]] = {}
    todo = {item.video for item in plan.todo}
    for entry, token in parts.entries():
        if entry.video not in todo:
            continue
        its = by.setdefault(token, {"done": 0, "failed": 0, "on": []})
        if entry.end is None:
            its["on"].append({"video": entry.video, "since": entry.since})
        elif entry.end.failure is None:
            its["done"] += 1
        else:
            its["failed"] += 1
            failed[entry.video] = entry.end.failure
    done += sum(its["done"] for its in by.values())
    at_work = []
    for token in parts.workers.tokens():
        worker = parts.workers.worker(token)
        if worker is not None:
            who = {"token": token, "host": worker.host, "pid": worker.pid, "since": worker.since}
            at_work.append({**who, **by.get(token, {"done": 0, "failed": 0, "on": []})})
    return _status("working", inputs, done, failed, {}, sorted(at_work, key=lambda one: str(one["since"])))


def _complete(existing: Existing) -> dict[str, Any]:
    failed = {video: failure.reason for video, failure in existing.failed.items()}
    return _status("complete", len(existing.known), len(existing.recorded), failed, existing.problems, [])


def _status(
    state: str,
    inputs: int,
    done: int,
    failed: Mapping[str, str | None],
    problems: Mapping[str, str],
    at_work: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        **MARK,
        "version": __version__,
        "state": state,
        "inputs": inputs,
        "done": done,
        "left": inputs - done - len(failed),
        "failed": [{"video": video, "reason": reason} for video, reason in sorted(failed.items())],
        "incomplete": [{"video": video, "reason": reason} for video, reason in sorted(problems.items())],
        "workers": at_work,
    }


def _write(path: Path, status: Mapping[str, Any]) -> None:
    temporary, stream = create_temporary(path)
    try:
        with stream:
            stream.write(json.dumps(status, ensure_ascii=True, indent=1).encode() + b"\n")
            stream.flush()
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
