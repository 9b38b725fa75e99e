"""The group `affcli`: finds commands without importing them, and turns errors into one line and an exit status."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple, NoReturn

import click

from affcli import __version__
from affcli.console import terminal
from affcli.errors import AffcliError
from affcli.files import outputs

INTERRUPTED = 128 + signal.SIGINT  # 130
BROKEN_PIPE = 128 + 13  # 141, what the shell shows for a filter whose reader has gone (SIGPIPE)

_SAME_SIGNAL_S = 1.0


class Entry(NamedTuple):
    """A command's module (its click command is named `command`) and its line in `affcli --help`."""

    module: str
    summary: str


COMMANDS = {
    "label": Entry("affcli.commands.label", "Videos → a folder of labelled frames: the whole chain in one command."),
    "extract-visual": Entry("affcli.commands.extract_visual", "Videos → faces → visual features, a row a frame."),
    "extract-audio": Entry("affcli.commands.extract_audio", "Sound → audio features, a row a frame."),
    "train-visual": Entry("affcli.commands.train_visual", "Labelled faces → an image encoder with a head."),
    "train": Entry("affcli.commands.train", "Feature tables and labels → model.safetensors."),
    "predict": Entry("affcli.commands.predict", "Model and feature tables → windowed logits."),
    "vote": Entry("affcli.commands.vote", "Windowed logits, or several tables → one row a frame."),
    "smooth": Entry("affcli.commands.smooth", "Frame logits → frame logits, filtered over time."),
    "score": Entry("affcli.commands.score", "Frame logits and labels → macro F1, accuracy, confusion."),
    "calibrate": Entry("affcli.commands.calibrate", "Frame logits and labels → class offsets that raise macro F1."),
    "export": Entry(
        "affcli.commands.export", "Frame logits → captions, segments, ELAN, CSV, ABAW submission, label files."
    ),
    "plot": Entry("affcli.commands.plot", "Frame logits → timelines and the confusion matrix, PNG or SVG."),
    "overlay": Entry("affcli.commands.overlay", "A video and its frame table → the video with labels drawn in."),
    "report": Entry("affcli.commands.report", "A folder of frame tables → one page: videos, players, timelines."),
    "info": Entry("affcli.commands.info", "Says what a model, table or calibration is."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        terminal.name_command(cmd_name)
        command = importlib.import_module(COMMANDS[cmd_name].module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", message="affcli %(version)s")
def cli() -> None:
    """Names the facial expression in every frame of a video, from its picture and its sound.

    Commands read and write Parquet tables with a row a frame, and can be joined by pipes:

    \b
      affcli extract-visual clips/ -o V.parquet
      affcli extract-audio clips/ -o A.parquet
      affcli train --visual V.parquet --audio A.parquet --labels labels/ -o model.safetensors
      affcli predict --model model.safetensors --visual V.parquet --audio A.parquet |
        affcli vote | affcli smooth | affcli score --labels labels/

    Exit status: 0 all done; 1 failed; 2 wrong usage; 3 done, but some inputs failed; 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs affcli and ends the process with its exit status."""
    terminal.start("affcli")
    outputs.secure_standard_output()
    # Ended by a batch system or a closed terminal: leave through the same door as Ctrl-C, so temporary files go.
    ending = _Ending()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:  # as under nohup
            signal.signal(getattr(signal, name), ending)
    status = run(arguments)
    outputs.leave_standard_output()
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs affcli in this process and returns its exit status; whatever went wrong has been said in one line."""
    try:
        _invoke(sys.argv[1:] if arguments is None else arguments)
        outputs.flush_standard_output()
        return 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "affcli"
        terminal.error(f"{error.format_message()} See: {command} --help")
        return error.exit_code
    except click.ClickException as error:
        terminal.error(error.format_message())
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        terminal.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except AffcliError as error:
        _show_traceback()
        terminal.error(str(error))
        return error.exit_status
    except OSError as error:
        _show_traceback()
        terminal.error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    except Exception as error:
        _show_traceback()
        where = "" if terminal.verbosity() >= 2 else " Please report it with the output of -vv."
        terminal.error(f"internal error, a bug in affcli: {type(error).__name__}: {error}.{where}")
        return 1


def _invoke(arguments: Sequence[str]) -> None:
    if "_AFFCLI_COMPLETE" in os.environ:
        cli.main(prog_name="affcli")  # answers the shell's completion
    # Not cli.main: it ends a broken pipe with status 1 and an interrupt with an empty line.
    with cli.make_context("affcli", list(arguments)) as context:
        cli.invoke(context)


def _show_traceback() -> None:
    if terminal.verbosity() >= 2:
        import traceback

        traceback.print_exc()


class _Ending:
    """Ends the work in good order at the first signal, at once where a later one shows that it takes too long.

    One that comes right after the first is the same: `timeout` and terminals signal a process and its group. It must
    not break off the tidying up, which waits for threads: a process that leaves with threads running crashes.
    """

    def __init__(self) -> None:
        self._first_s: float | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            sys.exit(128 + signum)
        if now_s - self._first_s > _SAME_SIGNAL_S:
            os._exit(128 + signum)
