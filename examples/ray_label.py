"""Label a folder of videos with Ray Data: one video a task, on one machine or a cluster that shares a disk.

    pip install 'affcli[ray]'
    python examples/ray_label.py videos/ out/ [--workers 2] [--model mini]

Ray decides who labels what, and does a task again whose worker has died. Each worker loads the networks once, on a GPU
of its own where the cluster has any. A video's tables go to OUT.work/<id>/ first, where affcli keeps unfinished work: a
task that is done again goes on within the video. What Ray has finished stands in OUT.work/checkpoint, and is left out
when the same command runs again. At the end `affcli gather` makes one folder of all, with the bytes of `affcli label`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data.checkpoint import CheckpointConfig

from affcli.errors import AffcliError
from affcli.files.inputs import find_inputs
from affcli.jobs.gathering import gather
from affcli.tables.label_tables import table_name


class Labeller:
    """An actor: the networks, loaded once; each row is a video."""

    def __init__(self, model: str) -> None:
        from affcli.models.label.chain import Chain, ChainOptions

        logging.getLogger("affcli").setLevel(logging.ERROR)
        self._chain = Chain(ChainOptions(model=model))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Labels the video; what became of it."""
        from affcli.files.inputs import MediaInput
        from affcli.jobs.job import Job, run
        from affcli.jobs.label_folder import LabelFolder
        from affcli.jobs.labelling import Labelling
        from affcli.jobs.progress import Silent

        Path(row["folder"]).parent.mkdir(parents=True, exist_ok=True)
        tables = LabelFolder(row["folder"], self._chain.settings)
        item = MediaInput(row["video"], Path(row["path"]), row["kind"])
        try:
            done = run(Job(tables, update=True), [item], Labelling(tables, self._chain), Silent())
        except AffcliError as error:
            return {**row, "frames": 0, "problem": str(error)}
        return {**row, "frames": done.rows, "problem": ", ".join((*done.failed, *done.incomplete))}


def labelled(inputs: list[dict[str, Any]], work: Path, *, workers: int, model: str) -> None:
    """Labels the videos, and writes what became of them beside their tables."""
    context = ray.data.DataContext.get_current()
    checkpoint = CheckpointConfig("video", str(work / "checkpoint"), delete_checkpoint_on_success=False)
    context.checkpoint_config = checkpoint
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    videos = ray.data.from_arrow(pa.Table.from_pylist(inputs)).repartition(len(inputs))
    done = videos.map(
        Labeller,
        fn_constructor_kwargs={"model": model},
        num_gpus=gpus,
        num_cpus=1,
        concurrency=workers,
        max_restarts=-1,
        max_task_retries=-1,
    )
    done.write_parquet(str(work / "done"), mode="append")


def main() -> int:
    """Exit status 0; 3 where some videos failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos")
    parser.add_argument("output")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    work = Path(f"{given.output.rstrip('/')}.work").resolve()
    work.mkdir(exist_ok=True)
    inputs = [
        {
            "video": item.video,
            "path": str(item.path.resolve()),
            "kind": item.kind,
            "folder": str(work / "videos" / table_name(item.video).removesuffix(".parquet")),
        }
        for item in find_inputs([given.videos])
    ]
    ray.init(ignore_reinit_error=True)
    labelled(inputs, work, workers=given.workers, model=given.model)
    folders = [row["folder"] for row in inputs if (Path(row["folder"]) / "summary.parquet").is_file()]
    made = gather(folders, given.output, force=True)
    print(f"{made.videos} videos, {made.rows} frames → {given.output}")
    failed = sorted({row["video"] for row in inputs if row["folder"] not in folders} | set(made.failed))
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}", file=sys.stderr)
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
