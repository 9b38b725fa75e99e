"""Shared by the training commands: epoch reports in `--log` and on the terminal, and the check for finished work."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

import click

from affcli.console import terminal
from affcli.errors import AffcliError, counted

if TYPE_CHECKING:
    from affcli.models.training.saved_state import EpochReport

log = logging.getLogger(__name__)

log_option = click.option(
    "--log", "log_file", metavar="FILE", help="Write one line of JSON per epoch; an existing file is replaced."
)


class EpochLines:
    """Takes the epochs' reports: one JSON line each to `--log`, and a live line where a person watches."""

    def __init__(self, log_file: str | None, epochs: int, *, title: str, what: str) -> None:
        self._log_file = log_file
        self._counting = terminal.counting(title, epochs, unit="epochs", counted=what)
        self._epochs, self._kept = epochs, 0
        self._stream: IO[str] | None = None

    def __enter__(self) -> EpochLines:
        if self._log_file is not None:
            self._stream = Path(self._log_file).open("w")
        self._counter = self._counting.__enter__()
        self._shown = 0.0  # epochs, with the part of the one that runs
        return self

    def went_on(self, done: float, examples: int) -> None:
        """`done` epochs are done, fractions included; `examples` more went through."""
        self._counter.advance(done - self._shown, frames=examples)
        self._shown = done

    def __call__(self, report: EpochReport) -> None:
        """Takes one epoch's report: a line of JSON in the log, figures on the terminal."""
        if self._stream is not None:
            self._stream.write(json.dumps(report.as_json()) + "\n")
            self._stream.flush()
        self._counter.advance(report.epoch - self._shown, note=figures(report))
        self._shown = report.epoch
        self._kept = report.epoch
        tell = terminal.say if terminal.unwatched() else log.info
        tell(f"epoch {report.epoch} of {self._epochs}: {figures(report)}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._counting.__exit__(kind, error, at)
        if self._stream is not None:
            self._stream.close()
        done = f"{self._kept} of {counted(self._epochs, 'epoch')}" if self._kept else "no epoch"
        are = "are" if self._kept > 1 else "is"
        kept = f"{done} {are} done and kept; the same command goes on from there."
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"interrupted; {kept}") from error
        if isinstance(error, SystemExit):
            terminal.error(f"ended by a signal; {kept}")


def figures(report: EpochReport) -> str:
    """An epoch in words."""
    if report.val_macro_f1 is None:
        return f"loss {report.loss:.4f}"
    return f"loss {report.loss:.4f}, validation macro F1 {report.val_macro_f1:.4f}, accuracy {report.val_accuracy:.4f}"


def already_made(output: str, existing: str | None, made_from: str) -> bool:
    """True, with a line that says so, where the output is complete; raises where it was made from something else.

    `existing` is the fingerprint of what the output was made from, None where there is none.
    """
    if existing == made_from:
        terminal.say(f"nothing to do: {output} is complete.")
        return True
    if existing is not None:
        raise AffcliError(f"{output}: exists already, made from other data or settings. Replace it with --force.")
    return False
