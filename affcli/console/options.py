"""Options that mean the same in every command, as values to decorate commands with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from affcli.console import terminal
from affcli.errors import UnknownFormatError

Command = TypeVar("Command", bound=Callable[..., Any])

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
INPUT_SPACES = ("logits", "probabilities", "percent", "shares")
FORMATS = ("parquet", "csv", "arrow")
FEATURE_SUFFIXES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")


def _quiet(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        terminal.set_verbosity(-1)


def _verbose(ctx: click.Context, param: click.Parameter, times: int) -> None:
    if times:
        terminal.set_verbosity(times)


quiet = click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quiet, help="Print errors only.")
verbose = click.option(
    "-v", "--verbose", count=True, expose_value=False, callback=_verbose, help="Print more; -vv prints everything."
)
force = click.option("-f", "--force", is_flag=True, help="Replace an existing output.")
bootstrap = click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Bootstrap samples of the videos; 0 for none.",
)
seed = click.option(
    "--seed", type=int, default=0, show_default=True, help="Random seed; the same seed gives the same result."
)
device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N|mps",
    help="Device to run on; auto takes a GPU if there is one.",
)
precision = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Number format of the computation; auto takes the fastest one that suits device and network.",
)


def table_format(command: Command) -> Command:
    """`--format`, which an output whose suffix says nothing points to."""

    @functools.wraps(command)
    def hinting(*arguments: Any, **given: Any) -> Any:
        try:
            return command(*arguments, **given)
        except UnknownFormatError as error:
            raise UnknownFormatError(f"{error} Or choose the format with --format.") from error

    text = "Output format; overrides the suffix of the output."
    return click.option("--format", "table_format", type=click.Choice(FORMATS), help=text)(hinting)  # type: ignore[return-value]  # as below


face = click.option(
    "--face",
    type=click.Choice(["largest", "left", "right", "all"]),
    default="largest",
    show_default=True,
    help="Which face to follow. largest: keep the person it starts with; all: every person, as NAME#1, NAME#2, ….",
)
every = click.option(
    "--every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Encode every Nth frame; interpolate the others.",
)
window = click.option(
    "--window", type=click.IntRange(1), help="Window length in frames, of any length.  [default: the model's]"
)
stride = click.option("--stride", type=click.IntRange(1), help="Frames between window starts.  [default: the model's]")
kernel = click.option(
    "-k",
    "--kernel",
    type=int,
    default=11,
    show_default=True,
    help="Length of the smoothing filter, in frames: odd, 1 to 1001.",
)

_LARGEST_OFFSET = 2**31


def _offset(ctx: click.Context, param: click.Parameter, given: int) -> int:
    if abs(given) > _LARGEST_OFFSET:
        raise click.BadParameter(f"{given} is beyond every frame number.")
    return given


label_frame_offset = click.option(
    "--label-frame-offset",
    type=int,
    callback=_offset,
    default=0,
    show_default=True,
    metavar="N",
    help="Number added to every frame number of the labels; 1 if they start at 0.",
)
allow_unmatched = click.option(
    "--allow-unmatched", is_flag=True, help="Continue even if the visual and the audio table have no video in common."
)
label_column = click.option(
    "--label-column", metavar="NAME", help="Column of labels to use as the prediction, instead of the logits."
)
frame_rate = click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    metavar="F",
    help="Frame rate (frames per second) of a table without times (time_s).",
)


def output(*, required: bool = False, what: str = "Parquet") -> Callable[[Command], Command]:
    """`-o/--output`: a required file, or standard output by default."""
    if required:
        return click.option("-o", "--output", required=True, metavar="FILE", help=f"Output file ({what}).")
    text = "Output table: .parquet, .csv, .tsv or .arrow; - is standard output."
    return click.option("-o", "--output", default="-", metavar="FILE", show_default=True, help=text)


def _of_features(ctx: click.Context, param: click.Parameter, given: str) -> str:
    """Rejects formats that cannot hold lists of numbers before any work is done, not after extraction."""
    suffix = Path(given).suffix.lower()
    if suffix not in ("", *FEATURE_SUFFIXES):
        raise click.BadParameter(
            f"'{suffix}' is not a feature table format affcli knows ({', '.join(FEATURE_SUFFIXES)})."
        )
    return given


def feature_output(what: str) -> Callable[[Command], Command]:
    """`-o/--output`: a required file for a table of features, Parquet or Arrow."""
    return click.option(
        "-o", "--output", required=True, metavar="FILE", callback=_of_features, help=f"Output file ({what})."
    )


output_folder = click.option("-o", "--output", metavar="DIR", help="Output folder, in the Hugging Face layout.")


def batch_size(default: int, what: str) -> Callable[[Command], Command]:
    """`--batch-size`; `what` names the items in a batch."""
    return click.option(
        "--batch-size", type=click.IntRange(1), default=default, show_default=True, help=f"{what} per batch."
    )


def _renamed(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    renamed = {}
    for pair in given:
        column, equals, name = pair.partition("=")
        if not (column and equals and name):
            raise click.BadParameter(f"'{pair}' is not NAME=CLASS.")
        renamed[column] = name
    return renamed


def _one_character(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
    character = {"\\t": "\t", "tab": "\t"}.get(given or "", given)
    if character is not None and (len(character) != 1 or character in '"\r\n' or not character.isascii()):
        raise click.BadParameter(f"'{given}' is not one character, such as ';' or '\\t'.")
    return character


def _class_names(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(name.strip() for name in given.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise click.BadParameter(f"'{given}' is not a comma-separated list of distinct names (A,B,…).")
    return names


def logit_columns(command: Command) -> Command:
    """Options that name the columns of a prediction table; the command receives them as `columns`, a ColumnNames."""

    @functools.wraps(command)
    def with_columns(  # keyword arguments as click names them
        *arguments: Any,
        video_column: str,
        frame_column: str,
        classes: tuple[str, ...] | None,
        renamed: dict[str, str],
        logits: str | None,
        frame_offset: int,
        person_column: str | None,
        input_space: str | None,
        delimiter: str | None,
        video_stem: bool,
        **others: Any,
    ) -> Any:
        from affcli.predictions.columns import ColumnNames  # brings numpy and pyarrow, which --help does without
        from affcli.tables.reader import Reading

        columns = ColumnNames(
            video_column,
            frame_column,
            classes,
            renamed,
            logits,
            frame_offset,
            person=person_column,
            space=input_space,
            reading=Reading(delimiter, video_stem),
        )
        return command(*arguments, columns=columns, **others)

    for option in reversed(_LOGIT_COLUMNS):
        with_columns = option(with_columns)
    return with_columns  # type: ignore[return-value]  # a decorated function keeps its type for its caller, click


_LOGIT_COLUMNS = (
    click.option(
        "--video-column", default="video", show_default=True, metavar="NAME", help="Column with the video ids."
    ),
    click.option(
        "--frame-column", default="frame", show_default=True, metavar="NAME", help="Column with the frame numbers."
    ),
    click.option(
        "--frame-offset",
        type=int,
        callback=_offset,
        default=0,
        show_default=True,
        help="Number added to every frame number; 1 if they start at 0.",
    ),
    click.option(
        "--person-column",
        metavar="NAME",
        help="Column with the person in the video; the video ids become VIDEO#PERSON.",
    ),
    click.option("--classes", metavar="A,B,…", callback=_class_names, help="Columns with the logits, one per class."),
    click.option(
        "--map",
        "renamed",
        metavar="NAME=CLASS",
        multiple=True,
        callback=_renamed,
        help="Class of a column, or of a word used as label; of two columns with the same class, the larger value "
        "counts. Repeatable.",
    ),
    click.option("--logits", metavar="COLUMN", help="A list column with the logits, in the order of --classes."),
    click.option(
        "--delimiter",
        metavar="CHAR",
        callback=_one_character,
        help="Field separator of a text table; \\t for a tab.  [default: found from its first lines]",
    ),
    click.option(
        "--video-stem",
        is_flag=True,
        help="Use only the stem of each video id: clips/a1.mp4 becomes a1.",
    ),
    click.option(
        "--input-space",
        type=click.Choice(INPUT_SPACES),
        help="Meaning of the numbers.  [default: stated by the table; else probabilities if rows sum to 1 or 100]",
    ),
)


def common(command: Command) -> Command:
    """`-q` and `-v`, which every command has."""
    return quiet(verbose(command))
