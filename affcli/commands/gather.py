"""`affcli gather`: merges outputs that were made apart into the one that a single process would have made."""

from __future__ import annotations

import click

from affcli.console import options, terminal
from affcli.errors import PartialError, UsageError, counted, listed


@click.command("gather")
@click.argument("sources", nargs=-1, metavar="DIR|TABLE...")
@click.option("-o", "--output", required=True, metavar="DIR|TABLE", help="Output folder or feature table.")
@options.force
@options.common
def command(sources: tuple[str, ...], output: str, force: bool) -> None:
    """Merge folders written by label, or tables written by extract-visual or extract-audio, into one.

    For shards made on machines without a common disk (label --shard). The result has the bytes that one process would
    have written. All must have been made with the same settings; a shard that is missing is named, and gives exit
    status 3. Tables are linked, not copied, where the file system allows it.

    \b
      affcli label videos/ --shard 0/2 -o out-0/
      affcli label videos/ --shard 1/2 -o out-1/
      affcli gather out-0/ out-1/ -o out/
    """
    if not sources:
        raise UsageError("name the folders or tables to merge.")
    from affcli.jobs.gathering import gather

    made = gather(sources, output, force=force)
    terminal.say(f"{counted(made.videos, 'video')}, {counted(made.rows, 'row')} → {output}")
    if made.missing:
        raise PartialError(f"{output}: is not all: {listed(made.missing)} missing.")
    if made.failed:
        raise PartialError(f"{output}: {counted(len(made.failed), 'input')} failed: {listed(made.failed)}.")
