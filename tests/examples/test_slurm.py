"""examples/slurm.sh under a stand-in for sbatch, which starts an array's tasks at once with SLURM's variables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.extracting import SMALL
from helpers.media_fixtures import write_frames
from helpers.runners import Affcli

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm.sh"


@pytest.fixture
def place(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two clips and a file that is none, and `affcli` on the path."""
    (tmp_path / "videos").mkdir()
    for name, frames in (("a b", 3), ("c", 2)):
        write_frames(tmp_path / "videos" / f"{name}.mkv", [SMALL] * frames, fps=4)
    (tmp_path / "videos" / "torn.mp4").write_text("no video")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sbatch(array: range, *arguments: str, apart: bool = False, lost: int | None = None) -> list[subprocess.Popen[str]]:
    """The tasks of `sbatch --array=… examples/slurm.sh ARGUMENTS…`, which have just begun, but for one that is lost."""
    told = {"MIN": array[0], "MAX": array[-1], "STEP": array.step, "COUNT": len(array)}
    given = {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in told.items()} | {"SLURM_CPUS_PER_TASK": "1"}
    given |= {"APART": "1"} if apart else {}
    return [
        subprocess.Popen(
            ["sh", str(SCRIPT), *arguments],
            env={**os.environ, **given, "SLURM_ARRAY_TASK_ID": str(number)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in array
        if number != lost
    ]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_tasks_of_an_array_make_what_one_process_makes(place: Path, affcli: Affcli) -> None:
    """On one disk, and apart: there one task of the array, and the other started alone later."""
    tasks = sbatch(range(2), "videos/", "shared")
    tasks += sbatch(range(2), "videos/", "apart/", apart=True, lost=1)
    tasks += sbatch(range(1, 2), "videos/", "apart/", "--shard", "auto/2", apart=True)
    affcli("label", "videos", "-o", "whole", status=3)
    for task in tasks:
        _, said = task.communicate(timeout=240)
        assert task.returncode == 0, said
    affcli("gather", "apart-0", "apart-1", "-o", "gathered", status=3)
    whole = content(place / "whole")
    assert {"frames/a b.parquet", "frames/c.parquet", "summary.csv", "status.json"} <= set(whole)
    assert content(place / "shared") == whole
    assert content(place / "gathered") == whole


def test_an_array_with_gaps_is_refused_where_tasks_work_apart(place: Path) -> None:
    [task, other] = sbatch(range(3, 6, 2), "videos/", "apart", apart=True)
    for each in (task, other):
        _, said = each.communicate(timeout=240)
        assert each.returncode == 1
        assert "the array is not contiguous" in said
    assert not list(place.glob("apart*"))


def test_a_task_outside_an_array_does_not_work_apart(place: Path) -> None:
    without = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    command = ["sh", str(SCRIPT), "videos/", "apart"]
    done = subprocess.run(command, env={**without, "APART": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not started by sbatch --array" in done.stderr
    assert not list(place.glob("apart*"))
