"""All benchmarks and peers in one go: `python tests/benchmarks/run.py -o results`; writes results.md and results.json.

    --only vote smooth score        some of: vote, smooth, score (beside pandas, polars, DuckDB), clips, and the
                                    benchmarks bench_NAME.py by their NAME
    --peers fer facex human         peers of `affcli label` on the clips of --clips, each installed from the network
                                    into an environment of its own below --environments; with --labels (a CSV of
                                    `video` and `class`) also how many clips each names right
    --frames N                      frames of the tables [default: 1,560,000, those of Aff-Wild2]
    --quick                         small tables, one run each, no bench_*.py: to see that it works

Tables: whole processes that take turns; the medians of processor time and wall time, and their ratios to affcli's: more
than 1 means that affcli needs less. A peer that needs less is shown so. `result` tells whether it is the same as ours,
or of how many clips the commonest label is right.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import clip_peers  # noqa: E402 - beside this script, wherever it is called from
import table_peers  # noqa: E402

from affcli.schema import CLASSES  # noqa: E402

BENCHES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
TASKS = ("vote", "smooth", "score")
WINDOW, STRIDE, VIDEO_FRAMES = 64, 8, 5_000
Row = dict[str, Any]


# --- tables ----------------------------------------------------------------------------------------------------------


def tables(folder: Path, frames: int) -> dict[str, Path]:
    """Frame logits, windowed logits (eight rows a frame) and labels of videos of 5,000 frames, as any tool has them."""
    rng, paths = np.random.default_rng(0), {name: folder / f"{name}.parquet" for name in ("F", "W", "L")}
    keys = {"video": pa.string(), "frame": pa.int32()}
    schema = pa.schema([*keys.items(), *((name, pa.float32()) for name in CLASSES)])
    labels = pa.schema([*keys.items(), ("label", pa.string())])
    with (
        pq.ParquetWriter(paths["F"], schema) as plain,
        pq.ParquetWriter(paths["W"], schema) as windowed,
        pq.ParquetWriter(paths["L"], labels) as truth,
    ):
        for start in range(0, frames, VIDEO_FRAMES):
            count = min(VIDEO_FRAMES, frames - start)
            video = pa.scalar(f"v{start // VIDEO_FRAMES:05d}")
            plain.write_table(_logits(video, np.arange(1, count + 1), rng, schema))
            starts = np.arange(0, max(1, count - WINDOW + 1), STRIDE)
            frame = np.minimum(np.add.outer(starts, np.arange(1, WINDOW + 1)).ravel(), count)
            windowed.write_table(_logits(video, frame, rng, schema))
            label = pa.array(CLASSES).take(pa.array(rng.integers(0, 8, count)))
            frames_of = pa.array(np.arange(1, count + 1), pa.int32())
            truth.write_table(pa.table([pa.repeat(video, count), frames_of, label], schema=labels))
    return paths


def _logits(video: pa.Scalar, frame: np.ndarray, rng: np.random.Generator, schema: pa.Schema) -> pa.Table:
    values = rng.normal(size=(len(CLASSES), len(frame))).astype(np.float32)
    return pa.table([pa.repeat(video, len(frame)), pa.array(frame, pa.int32()), *map(pa.array, values)], schema=schema)


def table_rows(task: str, folder: Path, frames: int, runs: int) -> list[Row]:
    """affcli and the peers on one task."""
    paths, affcli = tables(folder, frames), [sys.executable, "-m", "affcli", task, "-q"]
    ours = folder / "affcli.out"
    if task == "score":
        inputs = [paths["F"], paths["L"]]
        command = [*affcli, str(paths["F"]), "--labels", str(paths["L"]), "--bootstrap", "0", "--json"]
        command += ["-f", "-o", str(ours)]
        scripts = table_peers.SCORE
    else:
        inputs = [paths["W" if task == "vote" else "F"]]
        command = [*affcli, str(inputs[0]), "--format", "parquet", "-f", "-o", str(ours)]
        scripts = table_peers.VOTE if task == "vote" else table_peers.SMOOTH
    commands, outputs = {"affcli": command}, {"affcli": ours}
    for name, script in scripts.items():
        if _version(name.lower()) is not None:
            outputs[name] = folder / f"{name}.out"
            commands[name] = [sys.executable, "-c", script, *map(str, inputs), str(outputs[name])]
    measured = in_turns(commands, runs)
    return [
        {
            "task": task,
            "tool": name,
            "version": _version(name.lower()),
            "rows": pq.read_metadata(inputs[0]).num_rows,
            **measured[name],
            "cpu_ratio": measured[name]["cpu_s"] / measured["affcli"]["cpu_s"],
            "wall_ratio": measured[name]["wall_s"] / measured["affcli"]["wall_s"],
            "same": _same(task, outputs["affcli"], outputs[name]),
            "command": command if name == "affcli" else f"table_peers.{task.upper()}['{name}']",
        }
        for name in commands
    ]


def _same(task: str, ours: Path, theirs: Path) -> bool:
    if ours == theirs:
        return True
    if task == "score":
        return abs(json.loads(ours.read_text())["macro_f1"] - float(theirs.read_text())) < 1e-9
    one, other = (pq.read_table(path, columns=["video", "frame", *CLASSES]) for path in (ours, theirs))
    for key, kind in (("video", pa.string()), ("frame", pa.int64())):
        if one[key].cast(kind).to_pylist() != other[key].cast(kind).to_pylist():
            return False
    return all(np.allclose(one[name].to_numpy(), other[name].to_numpy(), atol=1e-4) for name in CLASSES)


# --- clips -----------------------------------------------------------------------------------------------------------


def clip_rows(clips: Path, labels: Path | None, peers: Sequence[str], environments: Path, folder: Path) -> list[Row]:
    """`affcli label` and the peers, each in one process on all clips; what cannot run here says why.

    `right` counts the clips whose commonest label is that of the column `class` of `labels`, all frames named.
    """
    files = sorted(path for path in clips.iterdir() if path.suffix in (".mp4", ".flv", ".webm", ".mkv", ".avi"))
    labelled = folder / "labelled"
    command = [sys.executable, "-m", "affcli", "label", "-q", "--min-confidence", "0", *map(str, files)]
    spent = once([*command, "-o", str(labelled), "-f"])
    rows: list[Row] = [{"task": "clips", "tool": "affcli label", "version": _version("affcli"), **spent}]
    named: dict[str, dict[str, str | None]] = {"affcli label": _longest(labelled / "summary.parquet")}
    for name in peers:
        try:
            peer = clip_peers.prepared(name, environments)
        except clip_peers.NotInstalledError as error:
            rows.append({"task": "clips", "tool": name, "not_seen": str(error)})
            continue
        (out := folder / name).mkdir()
        shown = [_shown(file, peer, folder) for file in files]
        spent = once([*peer.command, str(out), *map(str, shown)])
        rows.append({"task": "clips", "tool": name, "version": peer.version, **spent})
        named[name] = {
            file.stem: clip_peers.commonest(out / f"{one.name}.csv") for file, one in zip(files, shown, strict=True)
        }
    truth = _truth(labels) if labels else {}
    for row in rows:
        if "cpu_s" in row:
            row |= {f"{key}_ratio": row[f"{key}_s"] / rows[0][f"{key}_s"] for key in ("cpu", "wall")}
        if truth and row["tool"] in named:
            row |= {"clips": len(truth), "right": sum(named[row["tool"]].get(v) == label for v, label in truth.items())}
    return rows


def _longest(summary: Path) -> dict[str, str | None]:
    """The class that has most seconds of each video."""
    rows = pq.read_table(summary).to_pylist()
    return {row["video"]: max(CLASSES, key=lambda name: row[f"{name}_s"] or 0) for row in rows}


def _truth(labels: Path) -> dict[str, str]:
    with labels.open(newline="") as file:
        return {row["video"]: row["class"] for row in csv.DictReader(file)}


def _shown(file: Path, peer: clip_peers.Peer, folder: Path) -> Path:
    """The clip, or a folder of its pictures for a peer that reads those."""
    if not peer.takes_pictures:
        return file
    from affcli.media.ffmpeg import executable

    pictures = folder / f"pictures-{file.stem}"
    pictures.mkdir(exist_ok=True)
    subprocess.run([executable(), "-v", "error", "-y", "-i", f"file:{file}", f"{pictures}/%05d.ppm"], check=True)
    return pictures


# --- measuring -------------------------------------------------------------------------------------------------------


def in_turns(commands: dict[str, list[str]], runs: int) -> dict[str, dict[str, float]]:
    """The medians of whole processes that take turns, so that a busy machine slows all alike."""
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            spent[name].append(once(command))
    return {n: {key: statistics.median(one[key] for one in found) for key in found[0]} for n, found in spent.items()}


def once(command: Sequence[str]) -> dict[str, float]:
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)[:300]}\nended with {done.returncode}: {done.stderr[-2000:]}")
    return {"cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "wall_s": wall_s}


def bench_row(name: str) -> Row:
    """One of bench_*.py, with the lines that it printed."""
    command = [sys.executable, str(HERE / f"bench_{name}.py")]
    began_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if re.match(r"(ok|MISS) ", line)]
    row = {"bench": name, "command": command[1:], "wall_s": time.perf_counter() - began_s, "lines": lines}
    return row | (
        {} if lines else {"not_seen": (done.stderr.strip().splitlines() or ["it printed no ratio"])[-1][:300]}
    )


def machine() -> Row:
    model = re.search(r"model name\s*: (.*)", _text("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", _text("/proc/meminfo"))
    names = (
        "affcli",
        "numpy",
        "scipy",
        "pyarrow",
        "pandas",
        "polars",
        "duckdb",
        "torch",
        "transformers",
        "onnxruntime",
    )
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "memory_gb": int(memory[1]) >> 20 if memory else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
    }


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- the results -----------------------------------------------------------------------------------------------------


def markdown(found: Row) -> str:
    about = found["machine"]
    lines = [f"# Benchmarks of affcli {about['versions']['affcli']}", ""]
    load = f"{about['cores']} cores (load {about['load']:.1f} at the start), {about['memory_gb']} GB"
    lines += [f"`{found['command']}` on {about['cpu']}, {load}, Python {about['python']}.", ""]
    lines += [", ".join(f"{name} {v}" for name, v in about["versions"].items() if v) + ".", ""]
    lines += ["Seconds are medians of whole processes; a ratio above 1 means that affcli needs less.", ""]
    if found["peers"]:
        lines += ["| task | tool | CPU s | ratio | wall s | ratio | result |", "|---|---|---|---|---|---|---|"]
        lines += [_line(row) for row in found["peers"]]
    for bench in found["benches"]:
        lines += [
            "",
            f"## {bench['bench']}",
            "",
            *[f"    {line}" for line in bench["lines"]],
            bench.get("not_seen", ""),
        ]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row) -> str:
    task = f"{row['task']}, {row['rows']:,} rows" if "rows" in row else row["task"]
    tool = f"{row['tool']} {row.get('version') or ''}".strip()
    if "not_seen" in row:
        return f"| {task} | {tool} | not seen: {row['not_seen']} | | | | |"
    figures = " | ".join(f"{row[f'{key}_{what}']:.2f}" for key in ("cpu", "wall") for what in ("s", "ratio"))
    wins = " **faster**" if min(row["cpu_ratio"], row["wall_ratio"]) < 1 else ""
    same = {None: "", True: "same", False: "another"}[row.get("same")]
    if "right" in row:
        same = f"{row['right']} of {row['clips']} right"
    return f"| {task} | {tool}{wins} | {figures} | {same} |"


def main() -> None:
    given = _parser().parse_args()
    chosen = given.only or [*TASKS, *(["clips"] if given.clips else []), *([] if given.quick else BENCHES)]
    if unknown := set(chosen) - {*TASKS, "clips", *BENCHES}:
        _parser().error(f"unknown: {', '.join(sorted(unknown))}")
    frames, runs = (5_000, 1) if given.quick else (given.frames, given.runs)
    found: Row = {"command": "python tests/benchmarks/run.py " + " ".join(sys.argv[1:]), "machine": machine()}
    found |= {"peers": [], "benches": []}
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            if name in TASKS:
                found["peers"] += table_rows(name, Path(folder), frames, runs)
            elif name == "clips":
                found["peers"] += clip_rows(given.clips, given.labels, given.peers, given.environments, Path(folder))
            else:
                found["benches"].append(bench_row(name))
            # After each, so that what was measured stays where a later one fails.
            (given.output / "results.json").write_text(json.dumps(found, indent=1) + "\n")
            (given.output / "results.md").write_text(markdown(found))
    print(markdown(found))


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__, formatter_class=formatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), help="folder [default: results]")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--peers", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="folder of videos for affcli label and its peers")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="columns video (the clip's name) and class")
    parser.add_argument("--environments", type=Path, default=Path("peers"), metavar="DIR")
    parser.add_argument("--frames", type=int, default=1_560_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    return parser


if __name__ == "__main__":
    main()
