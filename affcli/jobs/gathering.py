"""Outputs made apart, on machines without a common disk, become one with the bytes of a single process."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from affcli.errors import AffcliError, NothingDoneError
from affcli.files.outputs import complete_folder, refuse_existing, refuse_full_folder
from affcli.jobs.label_folder import LabelFolder
from affcli.jobs.plan import Existing, Failure, Plan
from affcli.jobs.status import StatusFile
from affcli.jobs.table_output import OF_THE_INPUTS, TableOutput, rows_of
from affcli.schema import STARTS, SUMMARY, SUMMARY_TABLE
from affcli.tables.by_video import RowsByVideo
from affcli.tables.label_tables import TABLES_FOLDER, metadata_in
from affcli.tables.reader import TableReader

_NO_SETTINGS: Final = ("kind", *OF_THE_INPUTS)
_MOST_TABLES: Final = 200  # all are open at once


@dataclass(frozen=True)
class Source:
    """One of the outputs, as its metadata describe it."""

    name: str
    metadata: Mapping[str, Any]
    existing: Existing
    folder: LabelFolder | None = None  # None for a table

    @property
    def settings(self) -> dict[str, Any]:
        """What has to agree."""
        return {key: value for key, value in self.metadata.items() if key not in _NO_SETTINGS}


@dataclass(frozen=True)
class Gathered:
    """What was made: numbers of its videos and rows, the inputs that failed, and in words what is missing."""

    videos: int
    rows: int
    failed: Sequence[str]
    missing: Sequence[str]


@dataclass
class _Combined:
    """All inputs by video id: `owner` tells whose rows count."""

    owner: dict[str, Source] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def known(self, name: str) -> dict[str, Any]:
        """What the sources tell by input under that name, of the inputs whose rows are theirs."""
        told = ((video, source.metadata.get(name, {})) for video, source in self.owner.items())
        return {video: facts[video] for video, facts in told if video in facts}


def gather(names: Sequence[str], output: str, *, force: bool) -> Gathered:
    """Raises AffcliError for what is not complete, does not agree, or stands in the way."""
    sources = [_read(name) for name in names]
    kinds = {source.metadata["kind"] for source in sources}
    if len(kinds) > 1:
        raise AffcliError(f"{sources[0].name}, …: are of several kinds ({', '.join(sorted(kinds))}); gather one.")
    for source in sources[1:]:
        _refuse_other_settings(sources[0], source)
    if sources[0].folder is None:
        refuse_existing(output, force=force)
        return _gather_tables(sources, output)
    refuse_full_folder(output, force=force)
    return _gather_folders(sources, output)


def _read(name: str) -> Source:
    path = Path(name)
    if not path.is_dir():
        metadata = dict(metadata_in(path))
        if not path.exists():
            raise AffcliError(f"{name}: No such file or directory.")
        if "inputs" not in metadata:
            raise AffcliError(f"{name}: is no table of affcli extract-visual or extract-audio, nor a folder of label.")
        failed = {video: Failure(fingerprint) for video, fingerprint in metadata["failed"].items()}
        return Source(name, metadata, Existing(metadata["inputs"], metadata["inputs"], failed, metadata["incomplete"]))
    metadata = dict(metadata_in(path / SUMMARY_TABLE))
    if metadata.get("kind") != SUMMARY:
        unfinished = (path / "unfinished.parts").is_dir()
        what = (
            "is not complete; run its command again" if unfinished else "is no folder that affcli label has completed"
        )
        raise AffcliError(f"{name}: {what}.")
    folder = LabelFolder(name, {key: value for key, value in metadata.items() if key not in _NO_SETTINGS})
    return Source(name, metadata, folder.look(), folder)


def _refuse_other_settings(one: Source, other: Source) -> None:
    for key in {**one.settings, **other.settings}:
        ours, theirs = one.settings.get(key), other.settings.get(key)
        if ours != theirs:
            raise AffcliError(
                f"{other.name}: was made with other settings than {one.name}: {key} is {_short(theirs)} there and "
                f"{_short(ours)} here."
            )


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _combined(sources: Sequence[Source]) -> _Combined:
    inputs, lacking = _shards_in(sources)
    found = _Combined()
    for source in sources:
        for video, fingerprint in source.existing.recorded.items():
            owner = found.owner.setdefault(video, source)
            if owner.existing.recorded[video] != fingerprint:
                raise AffcliError(f"{owner.name} and {source.name}: both have '{video}', made from different files.")
            if owner is source and video not in source.existing.made:
                found.missing.append(f"{source.name}: the table of '{video}' is gone or damaged")
                del found.owner[video]
    for source in sources:
        new = {video: why for video, why in source.existing.failed.items() if video not in found.owner}
        found.failed |= new
    found.failed = dict(sorted(found.failed.items()))
    if len({*found.owner, *found.failed}) < inputs:  # else an output of all is beside the shards
        of = next(source.metadata["shard"]["of"] for source in sources if "shard" in source.metadata)
        found.missing[:0] = [f"shard {number}/{of}" for number in sorted(lacking)]
    return found


def _refuse_nothing(found: _Combined) -> None:
    if not found.owner:
        raise NothingDoneError("none of the inputs could be used; nothing is written.")


def _shards_in(sources: Sequence[Source]) -> tuple[int, set[int]]:
    """How many inputs all shards have together, 0 where no source is one; the numbers of shards that no source is.

    Raises AffcliError where they are of different wholes.
    """
    shards = {source.name: source.metadata["shard"] for source in sources if "shard" in source.metadata}
    wholes = defaultdict(list)
    for name, shard in shards.items():
        wholes[shard["of"], shard["inputs"]].append(name)
    if not wholes:
        return 0, set()
    (of, inputs), *others = wholes
    if others:
        (other, more), *_ = others
        raise AffcliError(
            f"{wholes[of, inputs][0]} is one of {of} shards of {inputs} inputs, {wholes[other, more][0]} one of "
            f"{other} of {more}: these do not make one output."
        )
    return inputs, set(range(min(of, inputs))) - {shard["number"] for shard in shards.values()}


# --- folders of frame tables -----------------------------------------------------------------------------------------


def _gather_folders(sources: Sequence[Source], output: str) -> Gathered:
    found = _combined(sources)
    _refuse_nothing(found)
    with complete_folder(output) as made:
        (made / TABLES_FOLDER).mkdir()
        for source in sources:
            assert source.folder is not None
            for video, tables in source.folder.tables().items():
                for path, name in tables if found.owner.get(video) is source else ():
                    _link(path, made / TABLES_FOLDER / name)
        folder = LabelFolder(str(made), sources[0].settings)
        kept = {video: source.existing.made[video] for video, source in found.owner.items()}
        videos, rows = folder.sum_up(Plan((), kept, found.failed), set(kept), found.failed)
        StatusFile(folder.status, len(kept) + len(found.failed)).complete(folder.look())
    return Gathered(videos, rows, list(found.failed), found.missing)


def _link(path: Path, name: Path) -> None:
    """A second name of a table, which is never written in place; a copy where that cannot be."""
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)


# --- feature tables --------------------------------------------------------------------------------------------------


def _gather_tables(sources: Sequence[Source], output: str) -> Gathered:
    if len(sources) > _MOST_TABLES:
        raise AffcliError(f"{len(sources)} tables are too many for one; other commands read a folder of them like one.")
    found = _combined(sources)
    _refuse_nothing(found)
    inputs = {video: source.existing.recorded[video] for video, source in found.owner.items()}
    facts: dict[str, Mapping[str, Any]] = {
        "inputs": inputs,
        "failed": {video: failure.fingerprint for video, failure in found.failed.items()},
        "incomplete": found.known("incomplete"),
    }
    if starts_s := found.known(STARTS):
        facts[STARTS] = starts_s
    schema = _as_written(pq.read_schema(sources[0].name))
    table = TableOutput(output, sources[0].metadata["kind"], schema, sources[0].settings)
    with ExitStack() as opened:
        rows = {}
        for source in sources:
            by_video = _opened(source, opened)
            for video in by_video.ids:
                owner = video if video in inputs else video.rpartition("#")[0]
                if found.owner.get(owner) is source:
                    rows[video] = partial(rows_of, by_video, video)
        videos, count = table.write(facts, rows, {})
    return Gathered(videos, count, list(found.failed), found.missing)


def _as_written(schema: pa.Schema) -> pa.Schema:
    """Of a table's file: Parquet has another name for the elements of lists."""
    return pa.schema([
        pa.field(field.name, pa.list_(field.type.value_type, field.type.list_size), field.nullable)
        if pa.types.is_fixed_size_list(field.type)
        else field.remove_metadata()
        for field in schema
    ])  # fmt: skip


def _opened(source: Source, opened: ExitStack) -> RowsByVideo:
    reader = opened.enter_context(TableReader(source.name))
    return RowsByVideo(reader, "video", reader.columns)
