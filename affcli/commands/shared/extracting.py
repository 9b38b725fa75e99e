"""Shared by the commands that read media: their inputs, the options for finished and failed work, the last line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from affcli.console import terminal
from affcli.console.watcher import Watcher
from affcli.errors import PartialError, UsageError, counted, failed_of
from affcli.files.inputs import MediaInput, find_inputs, read_names
from affcli.jobs.shards import Shard
from affcli.jobs.shares import Share
from affcli.media.track_choice import TrackChoice

if TYPE_CHECKING:
    from affcli.jobs import job

log = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])

POSITIVE = click.FloatRange(0, min_open=True)

log = logging.getLogger(__name__)

_SHARD = "affcli.shard"  # what the output says of the shard that it is

_INPUTS = (
    click.argument("inputs", nargs=-1, metavar="INPUT..."),
    click.option(
        "--from-file", metavar="LIST", help="Read input names from a file, one per line; - is standard input."
    ),
    click.option("-0", "nul", is_flag=True, help="Names in LIST end with NUL, as written by find -print0."),
    click.option(
        "--names",
        type=click.Choice(["stem", "path"]),
        default="stem",
        show_default=True,
        help="Video ids: file names, or paths relative to the given folder.",
    ),
    click.option(
        "--shard",
        metavar="K/N|auto",
        help="Take every Nth input, from number K (0 to N-1); auto: as SLURM's job array says (see affcli gather).",
    ),
)
_WORK = (
    click.option("--update", is_flag=True, help="Add only new, changed or formerly failed inputs to the output."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails."),
)

_VIDEO_TRACK = click.option(
    "--video-track",
    type=click.IntRange(1),
    metavar="N",
    help="Video track to use in files with several.  [default: the default-flagged, else the longest]",
)


class _AudioTrack(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    name = "audio track"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("first", "loudest"):
            return value
        if str(value).isdecimal() and int(value) >= 1:
            return int(value)
        return self.fail(f"'{value}' is not a number from 1, 'first' or 'loudest'.", param, ctx)


_AUDIO_TRACK = click.option(
    "--audio-track",
    type=_AudioTrack(),
    default="first",
    show_default=True,
    metavar="N|first|loudest",
    help="Audio track to use in files with several.",
)


class _LayersType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    name = "layers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all" or isinstance(value, int):
            return value
        if str(value).isdecimal() and int(value) >= 1:
            return int(value)
        return self.fail(f"'{value}' is not a number from 1, or 'all'.", param, ctx)


def layers(default: str) -> Callable[[Command], Command]:
    """--layers; `default` is what an encoder gives without it."""
    text = (
        "Average the last N hidden layers; all keeps every one, the embeddings first, for train to learn their weights."
    )
    return click.option("--layers", type=_LayersType(), metavar="N|all", show_default=default, help=text)


def note_size(size: int, layers: int | None) -> None:
    """Says how much room a table of all hidden layers takes."""
    if layers:
        a_frame = 2 * size  # bytes: half precision
        log.warning(
            "%d hidden layers of %d numbers: %s bytes per frame, %.1f GB per hour at 30 frames/s, before compression",
            layers, size // layers, f"{a_frame:,}", a_frame * 30 * 3600 / 1e9,
        )  # fmt: skip


def tracks(*, picture: bool = True, sound: bool = True) -> Callable[[Command], Command]:
    """--video-track and --audio-track; `chosen_tracks` makes a TrackChoice of them."""
    options = (*((_VIDEO_TRACK,) if picture else ()), *((_AUDIO_TRACK,) if sound else ()))
    return lambda command: _decorated(command, options)


def chosen_tracks(given: dict[str, Any], fps: float | None) -> TrackChoice:
    """Takes the options of `tracks` out of the given ones."""
    return TrackChoice(given.pop("video_track", None), given.pop("audio_track", "first"), fps)


def media_inputs(command: Command) -> Command:
    """INPUT..., --from-file, -0, --names."""
    return _decorated(command, _INPUTS)


def work(command: Command) -> Command:
    """--update and --fail-fast."""
    return _decorated(command, _WORK)


def _decorated(command: Command, decorators: Sequence[Callable[[Command], Command]]) -> Command:
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def encoder_options(default: str, what: str, *, mini: str) -> Callable[[Command], Command]:
    """--model; `mini` says what the one in the package is."""
    text = f"Pretrained {what}: Hugging Face name (NAME or NAME@REVISION), folder, or mini (included, {mini})."
    return click.option("--model", default=default, show_default=True, metavar="NAME|DIR|mini", help=text)


def find(given: dict[str, Any], **how: Any) -> list[MediaInput]:
    """The inputs that INPUT... and --from-file name. From here on, notes come from one process of torchrun's only."""
    terminal.watch("looking for inputs", shown=Share.given_by().rank == 0)
    if not Share.given_by().speaks:
        terminal.mute_notes()
    names = [*given.pop("inputs"), *_listed(given.pop("from_file"), nul=given.pop("nul"))]
    if not names:
        raise UsageError("name at least one video, audio file or folder, or give --from-file LIST.")
    wanted = given.pop("shard", None)
    shard = None if wanted is None else Shard.of_text(wanted)
    inputs = find_inputs(names, ids=given.pop("names"), **how)
    inputs = inputs if shard is None else _part(shard, inputs)
    terminal.watch("loading networks", shown=Share.given_by().rank == 0)
    return inputs


def _part(shard: Shard, inputs: list[MediaInput]) -> list[MediaInput]:
    """The inputs of a shard, which the output will name. Ends the command where there are none."""
    context = click.get_current_context()
    part = shard.part(inputs)
    context.meta[_SHARD] = {"shard": {"number": shard.number, "of": shard.of, "inputs": len(inputs)}}
    if not part:
        terminal.say(f"nothing to do: shard {shard} has none of the {counted(len(inputs), 'input')}.")
        context.exit(0)
    return part


def _listed(from_file: str | None, *, nul: bool) -> list[str]:
    return [] if from_file is None else read_names(from_file, nul=nul)


def run(to_do: job.Job, inputs: Sequence[MediaInput], work: job.Work, *, command: str, result: str, rows: str) -> None:
    """Runs the job with a progress line and says what was made; raises PartialError where some inputs failed.

    `result` is the file to look at, `rows` what its rows are called.
    """
    share = Share.given_by()
    to_do = replace(to_do, shard=click.get_current_context().meta.get(_SHARD, {}))
    if to_do.force and share.size > 1:
        raise UsageError(
            "--force cannot be used with several processes, which could not tell a new output from the old one. "
            "Remove the output instead."
        )
    log.debug("loaded after %s", _times())
    began_s = time.perf_counter()
    summary, frames = _watched(to_do, inputs, work, command=command, shown=share.rank == 0)
    rate = f"{frames / (time.perf_counter() - began_s):.1f} frames/s" if frames else "no new frames"
    speed = f"{terminal.elapsed(terminal.since_start_s())}; {rate}"
    if summary.outcome == "nothing to do":
        if not share.speaks:
            return
        terminal.say(f"nothing to do: {to_do.output.name} {_how_complete(summary)}.")
    elif summary.outcome == "left to others":
        terminal.say(_left_to_others(summary, to_do.output.name, speed))
    else:
        terminal.say(f"{counted(summary.videos, 'video')}, {counted(summary.rows, rows)} → {result} ({speed})")
    _tell_of_failures(summary, share)


def _watched(
    to_do: job.Job, inputs: Sequence[MediaInput], work: job.Work, *, command: str, shown: bool
) -> tuple[job.Summary, int]:
    """What the job made, and how many frames it went through. An interruption says what is kept."""
    from affcli.jobs import job

    watcher = Watcher(command, say=terminal.say if terminal.unwatched() else None, first=_tell_first)
    try:
        with terminal.showing(command, watcher.shown, shown=shown):
            summary = job.run(to_do, inputs, work, watcher)
        return summary, watcher.frames
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"interrupted; {_kept(watcher)}") from error
    except SystemExit:
        terminal.error(f"ended by a signal; {_kept(watcher)}")
        raise


def _kept(watcher: Watcher) -> str:
    """What is left of the work, and how it goes on."""
    if not watcher.total:
        return "nothing was begun."
    are = "is" if watcher.done == 1 else "are"
    done = f"{watcher.done:,} of {counted(watcher.total, 'input')} {are} done"
    kept = "That is kept, and of an input at work all but its last half minute"
    return f"{done}. {kept}; the same command goes on from there."


def _tell_first() -> None:
    log.debug("first frames after %s", _times())


def _times() -> str:
    return f"{terminal.since_start_s():.2f} s ({time.process_time():.2f} s of CPU)"


def _how_complete(summary: job.Summary) -> str:
    return "holds all readable inputs" if summary.failed else "is complete"


def _left_to_others(summary: job.Summary, output: str, speed: str) -> str:
    """What a process says that ends before others do: the last one completes the output."""
    if not summary.left:
        return f"done ({speed}); another process completed {output}."
    are = "is" if summary.left == 1 else "are"
    return (
        f"done ({speed}); {counted(summary.left, 'input')} {are} left to other processes, the last of which completes "
        f"{output}."
    )


def _tell_of_failures(summary: job.Summary, share: Share) -> None:
    if troubled := [*summary.failed, *summary.incomplete]:
        again = " Try them again with --update." if summary.outcome == "nothing to do" else ""
        text = f"{failed_of(len(troubled), summary.inputs, 'input')}.{again}"
        if not share.by_torchrun:
            raise PartialError(text)
        terminal.error(f"{text} (Exit status 0, because torchrun treats any other as a crash.)")
