"""Label a folder of videos with Ray Data: one video a task, on one machine or a cluster that shares a disk.

    pip install 'affcli[ray]'
    python examples/ray_label.py videos/ out/ [--workers 2] [--model mini]

Ray decides who labels what, and does a task again whose worker has died. Each worker loads the networks once, on a GPU
of its own where the cluster has any. A video's tables go to OUT.work/videos/<id>/ first, where affcli keeps unfinished
work: a task that is done again goes on within the video, and the same command run again leaves out what is done. At the
end all become one folder, with the bytes of `affcli label`: videos that failed, or have changed since, are labelled
once more for that, in this process, and the summary names what fails. OUT.work may be removed then.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from affcli.errors import AffcliError, OutputExistsError
from affcli.files.inputs import MediaInput, find_inputs
from affcli.jobs.gathering import gather
from affcli.jobs.job import Job, Summary, run
from affcli.jobs.label_folder import LabelFolder
from affcli.jobs.labelling import Labelling
from affcli.jobs.progress import Silent
from affcli.models.label.chain import Chain, ChainOptions
from affcli.tables.label_tables import table_name


class Labeller:
    """An actor: the networks, loaded once; each row is a video."""

    def __init__(self, model: str) -> None:
        logging.getLogger("affcli").setLevel(logging.CRITICAL)  # the driver tells what failed
        self._chain = Chain(ChainOptions(model=model))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Labels the video; what became of it."""
        Path(row["folder"]).parent.mkdir(parents=True, exist_ok=True)
        item = MediaInput(row["video"], Path(row["path"]), row["kind"])
        try:
            done = label([item], row["folder"], self._chain)
        except AffcliError as error:
            return {**row, "frames": 0, "problem": str(error)}
        return {**row, "frames": done.rows, "problem": ", ".join((*done.failed, *done.incomplete))}


def label(inputs: Sequence[MediaInput], folder: str, chain: Chain) -> Summary:
    """What `affcli label --update` does."""
    tables = LabelFolder(folder, chain.settings)
    return run(Job(tables, update=True), inputs, Labelling(tables, chain), Silent())


def label_apart(rows: list[dict[str, Any]], *, workers: int, model: str) -> None:
    """Labels each video into its own folder."""
    there = ray.cluster_resources()
    spare = max(there.get("CPU", 1) - 1, 0.1)  # one processor stays free for Ray itself, which hangs without
    videos = ray.data.from_arrow(pa.Table.from_pylist(rows), override_num_blocks=len(rows))
    done = videos.map(
        Labeller,
        fn_constructor_kwargs={"model": model},
        num_gpus=1 if there.get("GPU") else 0,
        num_cpus=min(1, round(spare / workers, 2)),
        compute=ActorPoolStrategy(size=workers),
    )
    for row in done.iter_rows():
        print(f"{row['video']}: {row['problem'] or 'done'}, {row['frames']} frames", flush=True)


def is_done(row: dict[str, Any]) -> bool:
    """Whether a video's own folder is complete."""
    return (Path(row["folder"]) / "summary.parquet").is_file()


def main() -> int:
    """Exit status 0; 3 where some videos failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos")
    parser.add_argument("output")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    work = Path(f"{given.output.rstrip('/')}.work").resolve()
    if Path(given.output).exists() and not work.exists():
        raise OutputExistsError(f"{given.output}: exists already, and was not made by this script; give another.")
    inputs = find_inputs([given.videos])
    rows = [
        {
            "video": item.video,
            "path": str(item.path.resolve()),
            "kind": item.kind,
            "folder": str(work / "videos" / table_name(item.video).removesuffix(".parquet")),
        }
        for item in inputs
    ]
    left = [row for row in rows if not is_done(row)]
    if left:
        ray.init(ignore_reinit_error=True)
        label_apart(left, workers=given.workers, model=given.model)
    if folders := [row["folder"] for row in rows if is_done(row)]:
        gather(folders, given.output, force=True)
    done = label(inputs, given.output, Chain(ChainOptions(model=given.model)))
    print(f"{done.inputs - len(done.failed)} of {len(inputs)} videos → {given.output}")
    return 3 if done.failed or done.incomplete else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AffcliError as error:
        sys.exit(str(error))
