"""Options that mean the same in every command, as values to decorate commands with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from affcli import terminal

Command = TypeVar("Command", bound=Callable[..., Any])

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
FORMATS = ("parquet", "csv", "arrow")


def _quiet(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        terminal.set_verbosity(-1)


def _verbose(ctx: click.Context, param: click.Parameter, times: int) -> None:
    if times:
        terminal.set_verbosity(times)


quiet = click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quiet, help="Errors only.")
verbose = click.option(
    "-v", "--verbose", count=True, expose_value=False, callback=_verbose, help="Say more; -vv: everything."
)
force = click.option("-f", "--force", is_flag=True, help="Replace an existing output.")
seed = click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same result.")
device = click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N|mps")
precision = click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True)
table_format = click.option(
    "--format", "table_format", type=click.Choice(FORMATS), help="Instead of what the output's suffix says."
)


def output(*, required: bool = False, what: str = "Parquet") -> Callable[[Command], Command]:
    """`-o/--output`: a required file, or standard output by default."""
    if required:
        return click.option("-o", "--output", required=True, metavar="FILE", help=f"Where to write ({what}).")
    text = "Where to write: .parquet, .csv, .tsv or .arrow; - is standard output."
    return click.option("-o", "--output", default="-", metavar="FILE", show_default=True, help=text)


def batch_size(default: int, what: str) -> Callable[[Command], Command]:
    return click.option(
        "--batch-size", type=click.IntRange(1), default=default, show_default=True, help=f"{what} at a time."
    )


def common(command: Command) -> Command:
    """`-q` and `-v`, which every command has."""
    return quiet(verbose(command))
