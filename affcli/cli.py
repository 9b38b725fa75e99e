"""The group `affcli`: finds commands without importing them, and turns errors into one line and an exit status."""

from __future__ import annotations

import gc
import importlib
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

import click
from click.shell_completion import CompletionItem

from affcli import __version__
from affcli.console import terminal
from affcli.console.completion import complete_paths
from affcli.errors import AffcliError, about_a_table, not_installed
from affcli.files import outputs

INTERRUPTED = 128 + signal.SIGINT  # 130
BROKEN_PIPE = 128 + 13  # 141, what the shell shows for a filter whose reader has gone (SIGPIPE)

_SAME_SIGNAL_S = 1.0


class Entry(NamedTuple):
    """A command's module (which holds the click command `command`) and its summary in `affcli --help`."""

    module: str
    summary: str


COMMANDS = {
    "label": Entry("affcli.commands.label", "Label every frame of videos: the whole chain in one command."),
    "extract-visual": Entry("affcli.commands.extract_visual", "Extract visual features from the faces in videos."),
    "extract-audio": Entry("affcli.commands.extract_audio", "Extract audio features for every frame of videos."),
    "gather": Entry("affcli.commands.gather", "Merge outputs of label or extract that several machines made apart."),
    "train-visual": Entry("affcli.commands.train_visual", "Train an image encoder on labelled face images."),
    "train-audio": Entry("affcli.commands.train_audio", "Train a speech encoder on labelled utterances."),
    "train": Entry("affcli.commands.train", "Train the fusion network on feature tables and labels."),
    "predict": Entry("affcli.commands.predict", "Run a trained network over feature tables."),
    "vote": Entry("affcli.commands.vote", "Average overlapping windows, or several tables, into one row per frame."),
    "smooth": Entry("affcli.commands.smooth", "Filter frame logits over time."),
    "score": Entry("affcli.commands.score", "Compare predictions with labels: macro F1, accuracy, confusion matrix."),
    "calibrate": Entry("affcli.commands.calibrate", "Fit per-class logit offsets that raise macro F1."),
    "export": Entry(
        "affcli.commands.export", "Convert frame tables to captions, segments, ELAN, CSV or challenge files."
    ),
    "plot": Entry("affcli.commands.plot", "Plot timelines or a confusion matrix as PNG, SVG or PDF."),
    "overlay": Entry("affcli.commands.overlay", "Draw face boxes, labels and probabilities into a video."),
    "report": Entry("affcli.commands.report", "Build an HTML page for browsing labelled videos."),
    "info": Entry("affcli.commands.info", "Describe a model, encoder, table or calibration file."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        terminal.name_command(cmd_name)
        command = importlib.import_module(COMMANDS[cmd_name].module).command
        assert isinstance(command, click.Command)
        return complete_paths(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; for a name that is none, the error says which may be meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            likely = get_close_matches(args[0].lower().replace("_", "-"), COMMANDS, n=3, cutoff=0.6)
            hint = f" Did you mean {' or '.join(likely)}?" if likely else ""
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options that begin with `incomplete`; click's own would import every command."""
        found = [CompletionItem(name, help=COMMANDS[name].summary) for name in COMMANDS if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", message="affcli %(version)s")
def cli() -> None:
    """Label the facial expression in every frame of a video, from image and audio.

    The commands read and write Parquet tables with one row per frame and can be joined by pipes:

    \b
      affcli label videos/ -o out/

    \b
      affcli extract-visual clips/ -o V.parquet
      affcli extract-audio clips/ -o A.parquet
      affcli train --visual V.parquet --audio A.parquet --labels labels/ -o model.safetensors
      affcli predict --model model.safetensors --visual V.parquet --audio A.parquet |
        affcli vote | affcli smooth | affcli score --labels labels/

    Exit status: 0 success; 1 failure; 2 wrong usage; 3 finished, but some inputs failed; 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run affcli and end the process with its exit status."""
    terminal.start("affcli", ran_s=_running_s())
    # Threads of torch that wait for work sleep; by default they spin, which takes time from whatever else runs, and
    # from each other. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    terminal.take_warnings()
    outputs.secure_standard_streams()
    # A batch system or a closed terminal ends affcli the same way as Ctrl-C does, so temporary files are removed.
    ending = _Ending()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:  # as under nohup
            signal.signal(getattr(signal, name), ending)
    status = run(arguments)
    outputs.leave_standard_output()
    # Python ends by looking for unreachable cycles among all objects: with torch and transformers loaded that takes a
    # quarter of the time that importing them takes, and frees nothing that the end of the process does not.
    gc.freeze()
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run affcli in this process and return its exit status; errors have been printed as one line each."""
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
        terminal.error(f"{_one_line(error.format_message())} See: {command} --help")
        return error.exit_code
    except click.ClickException as error:
        terminal.error(_one_line(error.format_message()))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        terminal.error(str(error) or "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except AffcliError as error:
        _show_traceback()
        terminal.error(str(error))
        return error.exit_status
    except OSError as error:
        _show_traceback()
        terminal.error(f"{error.filename}: {error.strerror}" if error.filename else _nameless(error))
        return 1
    except ImportError as error:
        _show_traceback()
        terminal.error(str(not_installed(error)))
        return 1
    except MemoryError:
        _show_traceback()
        terminal.error("not enough memory for this input.")
        return 1
    except Exception as error:
        _show_traceback()
        if (ours := about_a_table(error)) is not None:
            terminal.error(f"{ours} -vv shows where it was read.")
            return ours.exit_status
        where = "" if terminal.verbosity() >= 2 else " Please report it, with the output of -vv."
        terminal.error(f"internal error, a bug in affcli: {type(error).__name__}: {error}.{where}")
        return 1


def _running_s() -> float:
    """For how long this process has been running, as Linux says; elsewhere 0."""
    try:
        began_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


def _invoke(arguments: Sequence[str]) -> None:
    if "_AFFCLI_COMPLETE" in os.environ:
        cli.main(prog_name="affcli")  # answers the shell's completion
    # Not cli.main: it ends a broken pipe with status 1 and an interrupt with an empty line.
    with cli.make_context("affcli", list(arguments)) as context:
        cli.invoke(context)


def _one_line(text: str) -> str:
    """Click puts the choices of an option on lines of their own."""
    line = re.sub(r"\s*\n\s*", " ", text.strip())
    return line if line.endswith((".", "?", "!")) else f"{line}."


def _nameless(error: OSError) -> str:
    """What an error says that names no file: mostly it is standard output that cannot be written."""
    try:
        outputs.flush_standard_output()
    except AffcliError as named:
        return str(named)
    return str(error)


def _show_traceback() -> None:
    if terminal.verbosity() >= 2:
        import traceback

        traceback.print_exc()


class _Ending:
    """Signal handler: the first signal ends the work in good order, a later one ends the process at once.

    A second signal within a second counts as the same one, because `timeout` and terminals signal both a process and
    its group. It must not interrupt the clean-up, which waits for threads: exiting while threads run crashes Python.
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
