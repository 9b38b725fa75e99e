"""How time and peak memory grow with the number of videos: label, vote, smooth, score, report.

python tests/benchmarks/bench_size.py [--videos 1000,10000,100000] [--frames 100] [--only vote,…] [--folder DIR]

Tables have FRAMES rows a video (100: 10⁷ rows at 100,000 videos), one logit row a frame. `label` is the engine with a
labeller that computes nothing on inputs of 2 frames: what is left is finding, claiming, writing and gathering; the
figure `claims` is the time of that in which inputs are claimed and their ends told, also with 2 processes at once. Each
figure is of a process of its own. Prints Markdown; "per doubling" is the growth from the size before: 2.0 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import affcli

from affcli.predictions.frame_table import frame_schema
from affcli.schema import CLASSES, FRAMES, with_metadata

sys.path.insert(0, str(Path(__file__).parents[1]))

ROWS_AT_ONCE = 65_536
COMMANDS = ("label", "label again", "vote", "smooth", "score", "report")


def names_of(videos: int) -> list[str]:
    return [f"clip{number:07d}" for number in range(videos)]


def write_tables(folder: Path, videos: int, frames: int) -> None:
    """Frame logits and labels, sorted, in row groups as affcli writes them."""
    carried = [pa.field("face", pa.bool_()), pa.field("audio", pa.bool_()), pa.field("votes", pa.int32())]
    schema = frame_schema(carried, CLASSES, {"kind": FRAMES})
    truth = pa.schema([("video", pa.string()), ("frame", pa.int32()), ("label", pa.string())])
    rng = np.random.default_rng(0)
    names = pa.array(names_of(videos))
    with (
        pq.ParquetWriter(folder / "F.parquet", schema, use_dictionary=["video", "label"]) as tables,
        pq.ParquetWriter(folder / "labels.parquet", with_metadata(truth, kind="labels"), use_dictionary=True) as labels,
    ):
        for start in range(0, videos * frames, ROWS_AT_ONCE):
            row = np.arange(start, min(start + ROWS_AT_ONCE, videos * frames))
            frame = (row % frames + 1).astype(np.int32)
            video = names.take(pa.array(row // frames))
            label = pa.array(CLASSES).take(pa.array(row // frames % len(CLASSES)))
            logits = rng.normal(size=(len(CLASSES), len(row))).astype(np.float32)
            there = np.ones(len(row), bool)
            columns = [video, frame, (frame - 1) / 30, there, there, np.ones(len(row), np.int32), *logits, label]
            tables.write_table(pa.table(columns, schema=schema), row_group_size=ROWS_AT_ONCE)
            labels.write_table(pa.table([video, frame, label], schema=truth), row_group_size=ROWS_AT_ONCE)


def measured(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float, int, str]:
    """Wall and processor seconds and peak MB of a whole process, and what it printed."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, env={**os.environ, **(environment or {})})
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{command} ended with {process.returncode}")
        said.seek(0)
        return wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, said.read()


def label(folder: Path, videos: int) -> None:
    """The engine on inputs of two frames, in this process; prints what its claims took, wall and CPU, in ms a video."""
    from helpers import fake_extraction

    from affcli.jobs.claims import Claims
    from affcli.jobs.ends import Ends

    wall_s = cpu_s = 0.0

    def timed(act: Callable[..., object]) -> Callable[..., object]:
        def timing(*arguments: object, **more: object) -> object:
            nonlocal wall_s, cpu_s
            began, used = time.perf_counter(), time.thread_time()
            try:
                return act(*arguments, **more)
            finally:
                wall_s += time.perf_counter() - began
                cpu_s += time.thread_time() - used

        return timing

    Claims.take = timed(Claims.take)  # type: ignore[assignment, method-assign]
    Ends.add = timed(Ends.add)  # type: ignore[assignment, method-assign]
    summary = fake_extraction.make("folder", folder, names_of(videos))
    claims = f"{1000 * wall_s / videos:.3f} ms, CPU {1000 * cpu_s / videos:.3f} ms"
    print(json.dumps({"claims": claims, "outcome": summary.outcome}))


def label_command(folder: Path, videos: int) -> list[str]:
    return [sys.executable, __file__, "--label", str(folder), str(videos)]


def commands(folder: Path, inputs: Path, videos: int) -> dict[str, list[str]]:
    table = folder / "F.parquet"
    made = label_command(inputs, videos)
    return {
        "label": made,
        "label again": made,
        "vote": affcli("vote", table, "-o", folder / "vote.parquet", "-f", "-q"),
        "smooth": affcli("smooth", table, "-o", folder / "smooth.parquet", "-f", "-q"),
        "score": affcli("score", table, "--labels", folder / "labels.parquet", "--json", "-q"),
        "report": affcli("report", table, "-o", folder / "report.html", "-f", "-q"),
    }


def two_at_once(folder: Path, inputs: Path, videos: int) -> str:
    """ms a video that claims take in each of two processes that share the inputs."""
    other = folder / "shared"
    other.mkdir()
    for name in names_of(videos):
        (other / name).symlink_to(inputs / name)
    processes = [subprocess.Popen(label_command(other, videos), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(process.communicate()[0]) for process in processes]
    # Each has timed its own part, and divided by all videos.
    return " + ".join(one["claims"] for one in told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", default="1000,10000,100000")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--only", default=",".join(COMMANDS))
    parser.add_argument("--folder")
    given = parser.parse_args()
    print("| videos | command | wall s | CPU s | peak MB | CPU per doubling | MB per doubling |")
    print("|---|---|---|---|---|---|---|")
    before: dict[str, tuple[int, float, int]] = {}
    for videos in map(int, given.videos.split(",")):
        with tempfile.TemporaryDirectory(dir=given.folder) as made:
            folder, inputs = Path(made), Path(made) / "inputs"
            inputs.mkdir()
            chosen = given.only.split(",")
            if {"label", "label again"} & set(chosen):
                for name in names_of(videos):
                    (inputs / name).write_text("xy")
            if set(chosen) - {"label", "label again"}:
                write_tables(folder, videos, given.frames)
            for name, command in commands(folder, inputs, videos).items():
                if name not in chosen:
                    continue
                wall_s, cpu_s, peak, said = measured(command, {"OMP_NUM_THREADS": "1"})
                growth = "|"
                if name in before:
                    size, other_s, other_peak = before[name]
                    doublings = math.log2(videos / size)
                    growth = (
                        f"{(cpu_s / other_s) ** (1 / doublings):.2f} | {(peak / other_peak) ** (1 / doublings):.2f}"
                    )
                before[name] = (videos, cpu_s, peak)
                claims = f" (claims {json.loads(said)['claims']} a video)" if name == "label" else ""
                print(f"| {videos:,} | {name}{claims} | {wall_s:.1f} | {cpu_s:.1f} | {peak} | {growth} |", flush=True)
            if "label" in chosen:
                print(
                    f"| {videos:,} | … two processes at once: claims {two_at_once(folder, inputs, videos)} |||||",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--label"]:
        label(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
