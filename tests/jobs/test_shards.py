"""Shards made apart and gathered are what one process makes; arrays of which parts are missing are refused."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.fake_extraction import Process, make
from helpers.runners import Affcli

from affcli.errors import AffcliError, UsageError
from affcli.files.inputs import MediaInput
from affcli.jobs.gathering import gather
from affcli.jobs.shards import Shard

TEXTS = {"a": "longer", "b": "bad", "c": "xyz", "d": "cut of", "e": "x"}


def slurm(**numbers: int) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()}


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("0/1", {}, Shard(0, 1)),
        ("7/8", {}, Shard(7, 8)),
        ("auto", slurm(ID=3, MIN=0, MAX=7, STEP=1, COUNT=8), Shard(3, 8)),
        ("auto", slurm(ID=8, MIN=1, MAX=8, STEP=1), Shard(7, 8)),
        ("auto/8", slurm(ID=5, MIN=3, MAX=5, STEP=2, COUNT=2), Shard(5, 8)),
        ("auto/8", slurm(ID=0), Shard(0, 8)),
    ],
)
def test_a_shard_is_told_by_numbers_or_by_slurm(text: str, environment: Mapping[str, str], shard: Shard) -> None:
    assert Shard.of_text(text, environment) == shard


@pytest.mark.parametrize(
    ("text", "environment", "says"),
    [
        ("8/8", {}, "does not exist"),
        ("0/0", {}, "does not exist"),
        ("3", {}, "give K/N"),
        ("-1/2", {}, "give K/N"),
        ("auto", {}, "SLURM_ARRAY_TASK_ID is not set"),
        ("auto", slurm(ID=3, MIN=3, MAX=5, STEP=1, COUNT=2), "not contiguous"),  # sbatch --array=3,5
        ("auto", slurm(ID=3, MIN=3, MAX=5, STEP=2, COUNT=2), "not contiguous"),
        ("auto", slurm(ID=4, MIN=0, MAX=14, STEP=2), "not contiguous"),
        ("auto", slurm(ID=3, MIN=3, MAX=5, STEP=1, COUNT=3), "begins at 3"),
        ("auto/8", slurm(ID=1, MIN=1, MAX=8, STEP=1), "use 0 to 7"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "x"}, "is no number"),
    ],
)
def test_an_array_that_would_leave_videos_out_is_refused(text: str, environment: Mapping[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Shard.of_text(text, environment)


def test_shards_are_disjoint_and_together_all() -> None:
    items = [MediaInput(str(n), Path(str(n)), "file") for n in range(11)]
    parts = [Shard(number, 4).part(items) for number in range(4)]
    assert sorted((item for part in parts for item in part), key=items.index) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def made_apart(folder: Path, kind: str, count: int) -> list[str]:
    """The outputs of the shards, each in a folder of its own with all inputs."""
    outputs = []
    for number in range(count):
        place = folder / f"machine-{number}"
        place.mkdir()
        for name, text in TEXTS.items():
            (place / name).write_text(text)
        names = sorted(TEXTS)[number::count]
        make(kind, place, names, shard={"shard": {"number": number, "of": count, "inputs": len(TEXTS)}})
        outputs.append(str(place / ("out.parquet" if kind == "table" else "out")))
    return outputs


def content(output: Path) -> dict[str, bytes]:
    if output.is_file():
        return {"": output.read_bytes()}
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["table", "folder"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])  # one of the five has nothing but the input that fails
def test_gathered_shards_have_the_bytes_of_one_process(tmp_path: Path, kind: str, count: int) -> None:
    outputs = made_apart(tmp_path, kind, count)
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    make(kind, tmp_path, TEXTS)
    whole = tmp_path / ("out.parquet" if kind == "table" else "out")
    gathered = tmp_path / ("gathered.parquet" if kind == "table" else "gathered")
    made = gather(outputs[::-1], str(gathered), force=False)
    assert (list(made.failed), list(made.missing)) == (["b"], [])
    assert content(gathered) == content(whole)
    if kind == "folder":
        assert make(kind, tmp_path, TEXTS).outcome == "nothing to do"


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_a_missing_shard_is_named(tmp_path: Path, kind: str, affcli: Affcli) -> None:
    outputs = made_apart(tmp_path, kind, 3)
    suffix = ".parquet" if kind == "table" else ""
    said = affcli("gather", outputs[0], outputs[2], "-o", tmp_path / f"all{suffix}", status=3).stderr
    assert "shard 1/3 missing" in said
    assert not gather(outputs, str(tmp_path / f"whole{suffix}"), force=False).missing


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_shards_of_which_no_input_could_be_used_make_nothing(tmp_path: Path, kind: str, affcli: Affcli) -> None:
    outputs = made_apart(tmp_path, kind, 5)
    gathered = tmp_path / ("all.parquet" if kind == "table" else "all")
    said = affcli("gather", outputs[1], "-o", gathered, status=1).stderr
    assert "none of the inputs could be used; nothing is written" in said
    assert not gathered.exists()


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_no_shard_is_missing_beside_an_output_of_all(tmp_path: Path, kind: str) -> None:
    outputs = made_apart(tmp_path, kind, 2)
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    make(kind, tmp_path, TEXTS)
    suffix = ".parquet" if kind == "table" else ""
    made = gather([outputs[0], str(tmp_path / f"out{suffix}")], str(tmp_path / f"all{suffix}"), force=False)
    assert (made.missing, list(made.failed)) == ([], ["b"])
    assert content(tmp_path / f"all{suffix}") == content(tmp_path / f"out{suffix}")


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_what_does_not_belong_together_is_refused(tmp_path: Path, kind: str) -> None:
    [one, *_] = made_apart(tmp_path, kind, 2)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a").write_text("another")
    output = str(other / ("out.parquet" if kind == "table" else "out"))
    make(kind, other, ["a"], factor=2)
    with pytest.raises(AffcliError, match="factor is 2 there and 1 here"):
        gather([one, output], str(tmp_path / "all.parquet"), force=False)
    make(kind, other, ["a"], force=True)
    with pytest.raises(AffcliError, match="both have 'a', made from different files"):
        gather([one, output], str(tmp_path / "all.parquet"), force=False)
    make(kind, other, ["a"], force=True, shard={"shard": {"number": 0, "of": 7, "inputs": 9}})
    with pytest.raises(AffcliError, match="do not make one output"):
        gather([one, output], str(tmp_path / "all.parquet"), force=False)


def test_the_status_tells_what_became_of_all(tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    make("folder", tmp_path, TEXTS)
    status = json.loads((tmp_path / "out" / "status.json").read_text())
    assert (status["state"], status["inputs"], status["done"], status["left"]) == ("complete", 5, 4, 0)
    assert [one["video"] for one in status["failed"]] == ["b"]
    assert "not a video" in status["failed"][0]["reason"]
    assert status["incomplete"] == [{"video": "d", "reason": "cut off"}]
    assert status["workers"] == []


def test_info_shows_who_is_at_work_on_what_and_that_nobody_is_any_more(tmp_path: Path, affcli: Affcli) -> None:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    process = Process("folder", tmp_path, TEXTS, holds_at=5, waits=True)
    assert process.wait_until_held_or_ended()
    assert make("folder", tmp_path, TEXTS).outcome == "left to others"
    facts = json.loads(affcli("info", tmp_path / "out", "--json").stdout)
    assert (facts["state"], facts["inputs"], facts["done"], facts["left"]) == ("working", 5, 3, 1)
    assert list(facts["failed"]) == ["b"]
    [worker] = facts["workers"].values()
    assert [on.split()[0] for on in worker["on"]] == ["a"]
    process.signal(signal.SIGKILL)
    process.wait()
    facts = json.loads(affcli("info", tmp_path / "out", "--json").stdout)
    assert (facts["state"], facts["workers"]) == ("interrupted", {})
