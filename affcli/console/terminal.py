"""Messages on standard error: errors, notes, and what the command is at.

Libraries log through `logging` (loggers below "affcli"): `error` names an input that failed, `warning` is a note,
`info` is shown with `-v`, `debug` with `-vv`. Nothing here writes to standard output.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from affcli.console.display import Display, Source
from affcli.console.live_line import Shown, clock
from affcli.console.printing import harmless

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class _Terminal(logging.Handler):
    """Prints log records as `affcli COMMAND: text`, above the progress line if one is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.program = "affcli"
        self.verbosity = 0
        self.began_s = time.perf_counter()
        self.display: Display | None = None

    def emit(self, record: logging.LogRecord) -> None:
        mark = "note: " if record.levelno == logging.WARNING else ""
        self.say(mark + record.getMessage())

    def say(self, text: str) -> None:
        shown = harmless(text, lines=False)  # a file name may hold a newline or an escape sequence
        # Names that are not valid UTF-8 (surrogates) are escaped instead of raising UnicodeEncodeError.
        line = f"{self.program}: {shown}".encode("utf-8", "backslashreplace").decode()
        live = None if self.display is None else self.display.console
        if live is not None:
            live.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(line + "\n")


class _OfLibraries(logging.Handler):
    """Prints what other libraries log, which is about their code, with -vv only."""

    def emit(self, record: logging.LogRecord) -> None:
        if _terminal.verbosity >= 2:
            _terminal.say(f"{record.name}: {record.getMessage()}")


_terminal = _Terminal()
_of_libraries = _OfLibraries()


def start(program: str, *, ran_s: float = 0.0) -> None:
    """Send the libraries' log to standard error, each line prefixed with `program` (such as `affcli vote`).

    `ran_s` is for how long the program has been running.
    """
    logger = logging.getLogger("affcli")
    logger.propagate = False
    logger.handlers[:] = [_terminal]
    _terminal.program = program
    _terminal.began_s = time.perf_counter() - ran_s
    set_verbosity(0)


def take_warnings() -> None:
    """Print what libraries warn of (numpy of numbers that overflow, say) and log (Pillow of a damaged TIFF) with -vv
    only: it is about their code."""
    logging.captureWarnings(True)
    if _of_libraries not in logging.getLogger().handlers:
        logging.getLogger().addHandler(_of_libraries)


def since_start_s() -> float:
    """Seconds since the program, or a command run inside another program, began."""
    return time.perf_counter() - _terminal.began_s


def elapsed(seconds: float) -> str:
    """`12.3 s`, from two minutes on `2:05`."""
    return f"{seconds:.1f} s" if seconds < 120 else clock(seconds)


def set_verbosity(verbosity: int) -> None:
    """Set what is printed: -1 errors only, 0 errors and notes, 1 more, 2 everything, with tracebacks."""
    _terminal.verbosity = max(-1, min(2, verbosity))
    logging.getLogger("affcli").setLevel(_LEVELS[_terminal.verbosity])


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
    """Counts finished items and frames: shown live on a terminal, else once a minute."""

    def __init__(self, title: str, total: float, unit: str, counted: str) -> None:
        self._title, self._unit, self._counted, self._total = title, unit, counted, total
        self._began_s = time.monotonic()
        self._done, self._frames, self._note = 0.0, 0, ""

    def advance(self, items: float = 0, *, frames: int = 0, note: str | None = None) -> None:
        """Add finished items and frames; `note` replaces the text at the end of the line."""
        self._done += items
        self._frames += frames
        self._note = self._note if note is None else note

    def shown(self) -> Shown:
        """What there is to tell now."""
        elapsed_s = time.monotonic() - self._began_s
        return Shown(
            self._title,
            stage="reading" if not self._total else "",
            elapsed_s=elapsed_s,
            done=int(self._done + 1e-6),
            total=int(self._total),
            unit=self._unit,
            counted=self._counted,
            share=self._done / self._total if self._total else None,
            rate=self._frames / elapsed_s if elapsed_s > 0 and self._frames else None,
            left_s=elapsed_s / self._done * (self._total - self._done) if self._done else None,
            note=self._note,
        )


@contextmanager
def counting(
    title: str, total: int, *, unit: str = "videos", counted: str = "frames", shown: bool = True
) -> Iterator[Counter]:
    """Show `title ━━━ 50 % · 3/6 videos · 23.1 frames/s · 0:12 left` while the block runs, unless -q was given."""
    counter = Counter(title, total, unit, counted)
    with showing(title, counter.shown, shown=shown):
        yield counter


@contextmanager
def showing(title: str, source: Source, *, shown: bool = True) -> Iterator[None]:
    """Show what the source tells while the block runs, unless -q was given."""
    if not shown or _terminal.verbosity < 0:
        yield
        return
    display = _terminal.display or _begun(title)
    display.show(source)
    try:
        yield
    finally:
        _end(display)


def watch(stage: str, *, shown: bool = True) -> None:
    """Show from now on that this stage goes on, until the next one, `counting`, `showing` or the command's end."""
    if not shown or _terminal.verbosity < 0:
        return
    if _terminal.display is None:
        display = _begun(_terminal.program.removeprefix("affcli "))
        click.get_current_context().call_on_close(lambda: _end(display))
    assert _terminal.display is not None
    _terminal.display.stage(stage)


def _begun(title: str) -> Display:
    _terminal.display = Display(title, say)
    _terminal.display.start()
    return _terminal.display


def _end(display: Display) -> None:
    display.stop()
    if _terminal.display is display:
        _terminal.display = None


def unwatched() -> bool:
    """Whether no live line is shown, so that what is done has to be said line by line."""
    return not sys.stderr.isatty()
