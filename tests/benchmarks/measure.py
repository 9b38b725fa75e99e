"""Times and peak memory of functions and whole processes, and a verdict beside each target."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RUNS = 5


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(command: list[str]) -> None:
    """Runs a whole process."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def peak(*arguments: object) -> int:
    """Peak memory of an affcli process in MB, from Linux's own count (a child's maxrss begins with its parent's)."""
    code = "import sys; from affcli.cli import run; run(sys.argv[1:]); print(open('/proc/self/status').read())"
    done = subprocess.run(python(code, *arguments), check=True, stdout=subprocess.PIPE, text=True)
    return next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("VmHWM")) // 1024


def cpu_medians(*commands: list[str]) -> list[tuple[float, float]]:
    """The median processor time and wall time in seconds of each whole process, all taking turns."""
    times = [[_cpu_and_wall(command) for command in commands] for _ in range(RUNS)]
    columns = list(zip(*times, strict=True))
    return [(statistics.median(c for c, _ in column), statistics.median(w for _, w in column)) for column in columns]


def _cpu_and_wall(command: list[str]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(lambda: run(command))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def medians(*works: Callable[[], object]) -> list[float]:
    """The median time of each, all taking turns, so that a busy machine slows all alike."""
    times = [[seconds(work) for work in works] for _ in range(RUNS)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def verdict(what: str, ratio: float, *, least: float | None = None, most: float | None = None) -> bool:
    """Prints a ratio and its target; returns whether it is met."""
    met = (least is None or ratio >= least) and (most is None or ratio <= most)
    target = f"at least {least:g}" if least is not None else f"at most {most:g}"
    print(f"{'ok  ' if met else 'MISS'} {what}: {ratio:.2f} (target {target})")
    return met


def affcli(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "affcli", *map(str, arguments)]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def in_folder(main: Callable[[Path], bool]) -> None:
    """Runs a benchmark with its tables in the folder that the command line names, or in a temporary one."""
    if len(sys.argv) > 1:
        sys.exit(not main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not main(Path(folder)))
