"""Messages on standard error: errors, notes, and a live progress line. The only module that imports rich.progress.

Libraries log through `logging` (loggers below "affcli"): `error` names an input that failed, `warning` is a note,
`info` is shown with `-v`, `debug` with `-vv`. Nothing here writes to standard output.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from affcli.console.printing import harmless

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class _Terminal(logging.Handler):
    """Prints log records as `affcli COMMAND: text`, above the progress line if one is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.program = "affcli"
        self.verbosity = 0
        self.progress: Progress | None = None

    def emit(self, record: logging.LogRecord) -> None:
        mark = "note: " if record.levelno == logging.WARNING else ""
        self.say(mark + record.getMessage())

    def say(self, text: str) -> None:
        shown = harmless(text, lines=False)  # a file name may hold a newline or an escape sequence
        # Names that are not valid UTF-8 (surrogates) are escaped instead of raising UnicodeEncodeError.
        line = f"{self.program}: {shown}".encode("utf-8", "backslashreplace").decode()
        if self.progress is not None:
            self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(line + "\n")


_terminal = _Terminal()


def start(program: str) -> None:
    """Send the libraries' log to standard error, each line prefixed with `program` (such as `affcli vote`)."""
    logger = logging.getLogger("affcli")
    logger.propagate = False
    logger.handlers[:] = [_terminal]
    logging.getLogger("py.warnings").handlers[:] = [_terminal]
    _terminal.program = program
    set_verbosity(0)


def take_warnings() -> None:
    """Print what libraries warn of (numpy of numbers that overflow, say) with -vv only: it is about their code."""
    logging.captureWarnings(True)


def set_verbosity(verbosity: int) -> None:
    """Set what is printed: -1 errors only, 0 errors and notes, 1 more, 2 everything, with tracebacks."""
    _terminal.verbosity = max(-1, min(2, verbosity))
    logging.getLogger("affcli").setLevel(_LEVELS[_terminal.verbosity])
    logging.getLogger("py.warnings").setLevel(logging.WARNING if _terminal.verbosity >= 2 else logging.CRITICAL)


def mute_notes() -> None:
    """Stop printing notes, because another process prints the same ones; errors, and everything with -v, stay."""
    if _terminal.verbosity == 0:
        logging.getLogger("affcli").setLevel(logging.ERROR)


def name_command(command: str) -> None:
    """Prefix further lines with `affcli COMMAND`."""
    _terminal.program = f"affcli {command}"


def verbosity() -> int:
    """The current level: -1 quiet, 0 normal, 1 verbose, 2 everything."""
    return _terminal.verbosity


def error(text: str) -> None:
    """Print one line that says why the command failed."""
    _terminal.say(text)


def say(text: str) -> None:
    """Print one line that says what was done, unless -q was given."""
    if _terminal.verbosity >= 0:
        _terminal.say(text)


class Counter:
    """Counts finished items and frames: shown live on a terminal, silent elsewhere."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress, self._task = progress, task

    def advance(self, items: float = 0, *, frames: int = 0, note: str | None = None) -> None:
        """Add finished items and frames; `note` replaces the text at the end of the line."""
        if self._progress is None or self._task is None:
            return
        task = next(t for t in self._progress.tasks if t.id == self._task)
        frames_done = task.fields["frames"] + frames
        shown = task.fields["note"] if note is None else note
        rate = frames_done / task.elapsed if task.elapsed else 0.0
        self._progress.update(self._task, advance=items, frames=frames_done, rate=f"{rate:.1f}", note=shown)


@contextmanager
def counting(
    title: str, total: int, *, unit: str = "videos", counted: str = "frames", shown: bool = True
) -> Iterator[Counter]:
    """Show `title ━━━ 3/6 videos · 412 frames · 23.1/s · 0:00:12` while the block runs: on a terminal, without -q."""
    if not shown or _terminal.verbosity < 0 or not sys.stderr.isatty():
        yield Counter(None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    counts = TextColumn("{task.completed:.0f}/{task.total} " + unit + " · {task.fields[frames]} " + counted)
    rate = TextColumn("{task.fields[rate]} " + counted + "/s · {task.fields[note]}")
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), counts, rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        _terminal.progress = progress
        try:
            yield Counter(progress, progress.add_task(title, total=total, frames=0, rate="0.0", note=""))
        finally:
            _terminal.progress = None
