"""The recipes in examples/recipes run from end to end on made-up data."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from affcli.schema import CLASSES

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    folder = tmp_path_factory.mktemp("recipes") / "made-up"
    folder.mkdir()
    subprocess.run([programs / "python", RECIPES / "made_up.py", folder], check=True)
    return folder


def run(script: Path, folder: Path, programs: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What a shell makes of it, with these programs before others."""
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OUT": str(folder)}
    command = ["bash", str(script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["abaw10-first", "abaw10-second", "abaw10-third"])
def test_a_recipe_labels_and_scores_every_frame_of_made_up_videos(
    name: str, made_up: Path, tmp_path: Path, programs: Path
) -> None:
    (tmp_path / "made-up").symlink_to(made_up)
    done = run(RECIPES / f"{name}.sh", tmp_path, programs)
    assert done.returncode == 0, done.stderr
    assert "96 frames of 3 videos, coverage 100 % of the labelled frames" in done.stdout
    assert "macro F1" in done.stdout
    found = pq.read_table(tmp_path / "labels.parquet")
    assert found.num_rows == 9 * 32
    assert set(found["label"].to_pylist()) <= set(CLASSES)


def test_pseudo_labels_go_round_in_folds_and_are_scored_on_true_labels(
    made_up: Path, tmp_path: Path, programs: Path
) -> None:
    (tmp_path / "made-up").symlink_to(made_up)
    done = run(RECIPES / "pseudo-labels.sh", tmp_path, programs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("192 frames of 6 videos, coverage 100 %") == 2  # a round without, one with pseudo-labels
    pseudo = {path.stem for path in (tmp_path / "round-0/pseudo").glob("*.txt")}
    assert pseudo & {f"validation{i}" for i in range(3)}
    for fold in (1, 2):
        held_out = set((tmp_path / f"round-1/held-out-{fold}.list").read_text().split())
        taught = {path.stem for path in (tmp_path / f"round-1/labels-{fold}").glob("*.txt")}
        assert held_out
        assert not held_out & taught
        assert taught & pseudo - {f"train{i}" for i in range(6)}


@pytest.mark.parametrize("script", sorted(RECIPES.glob("*.sh")), ids=lambda path: path.stem)
def test_a_recipe_that_is_called_wrongly_says_what_it_takes(script: Path, tmp_path: Path, programs: Path) -> None:
    done = run(script, tmp_path, programs, "one")
    assert done.returncode == 2
    assert f"bash examples/recipes/{script.name}" in done.stderr
