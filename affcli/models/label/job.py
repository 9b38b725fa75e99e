"""Labelling of many videos as one job: what `affcli label` runs, from the inputs to the folder of frame tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from affcli.errors import BusyError, PartialError, counted, failed_of, listed
from affcli.files.inputs import MediaInput
from affcli.jobs.job import Job, Summary
from affcli.jobs.label_folder import LabelFolder, refuse_no_folder
from affcli.jobs.labelling import Labelling
from affcli.models.label.chain import Chain, ChainOptions
from affcli.schema import SUMMARY_TABLE
from affcli.tables.whole import read_whole


def label_job(
    inputs: Sequence[MediaInput],
    folder: str,
    chosen: ChainOptions,
    *,
    force: bool = False,
    update: bool = False,
    fail_fast: bool = False,
) -> tuple[Job, Labelling]:
    """The job and its work, with the networks loaded, to be given to `jobs.job.run`."""
    refuse_no_folder(folder)
    chain = Chain(chosen)
    chain.note_alignment(inputs)
    tables = LabelFolder(folder, chain.settings)
    return Job(tables, force=force, update=update, fail_fast=fail_fast), Labelling(tables, chain)


def summary_of(folder: str, done: Summary) -> pa.Table:
    """The summary that a job has written. Raises BusyError, PartialError where the job is not done, or not for all."""
    if done.outcome == "left to others":
        raise BusyError(f"{folder}: other processes are still at work on {counted(done.left, 'input')} of it.")
    if troubled := [*done.failed, *done.incomplete]:
        named = listed(troubled, limit=5)
        raise PartialError(
            f"{folder}: {failed_of(len(troubled), done.inputs, 'input')}: {named}. The summary says why."
        )
    return read_whole(str(Path(folder) / SUMMARY_TABLE))
