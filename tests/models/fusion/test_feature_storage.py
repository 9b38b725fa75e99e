"""Features in a mapped file are those in memory: the same bytes of the model, and nothing left behind."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.feature_tables import class_features, write_audio, write_labels, write_visual
from helpers.runners import Affcli
from helpers.warm import Warm

from affcli.errors import AffcliError
from affcli.features.joined import JoinedFeatures
from affcli.features.stream import FeatureTable
from affcli.models.fusion import feature_storage
from affcli.models.fusion.feature_storage import MappedRows, Storage
from affcli.models.fusion.windows import Frames

LABELS = {"a": [0] * 30 + [4] * 30, "b": [4] * 25 + [5] * 25, "c": [1] * 20}
SMALL = ("--dim", 16, "--layers", 1, "--heads", 2, "--window", 16, "--stride", 4, "--lr", 3e-3, "--epochs", 2)
GIVEN = ("--visual", "visual.parquet", "--audio", "audio.parquet", "--labels", "labels", *SMALL)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """visual.parquet (every fifth frame without a face), audio.parquet and labels/ of three videos."""
    visual, audio = class_features(LABELS, 12), class_features(LABELS, 6, seed=1)
    for rows in visual.values():
        rows[::5] = np.nan
    write_visual(tmp_path / "visual.parquet", visual)
    write_audio(tmp_path / "audio.parquet", audio)
    write_labels(tmp_path / "labels", LABELS)
    return tmp_path


def load(folder: Path, where: Storage) -> Frames:
    tables = (FeatureTable(str(folder / name)) for name in ("visual.parquet", "audio.parquet"))
    with JoinedFeatures(*tables, sizes=(0, 0)) as joined:
        return Frames.load(joined, joined.videos, where)


def test_mapped_features_are_those_in_memory_also_after_they_are_let_go(tables: Path) -> None:
    memory, disk = load(tables, Storage("memory")), load(tables, Storage("disk", tables))
    assert [type(rows) for rows in disk.stored] == [MappedRows, MappedRows]
    assert not any(isinstance(rows, MappedRows) for rows in memory.stored)
    for _ in range(2):
        assert torch.equal(disk.visual, memory.visual)
        assert torch.equal(disk.audio, memory.audio)
        assert torch.equal(disk.visual_valid, memory.visual_valid)
        disk.release()
    assert disk.digest() == memory.digest()
    rows = torch.tensor([[3, 4], [100, 7]])
    for one, other in zip(disk.gather(rows), memory.gather(rows), strict=True):
        assert torch.equal(one, other)


def test_training_from_disk_gives_the_same_bytes_and_leaves_nothing_behind(tables: Path, affcli: Affcli) -> None:
    more = ("--val-labels", "labels", "-q")
    for where in ("memory", "disk"):
        (tables / where).mkdir()
        affcli("train", *GIVEN, *more, "--storage", where, "-o", f"{where}/m")
    assert (tables / "memory" / "m").read_bytes() == (tables / "disk" / "m").read_bytes()
    assert [path.name for path in (tables / "disk").iterdir()] == ["m"]
    # where features lay is no setting that a model depends on
    assert "nothing to do" in affcli("train", *GIVEN, *more[:2], "--storage", "memory", "-o", "disk/m").stderr


def test_killed_training_from_disk_leaves_no_features_and_goes_on_in_memory(tables: Path, affcli: Affcli) -> None:
    for where in ("killed", "whole"):
        (tables / where).mkdir()
    affcli("train", *GIVEN, "--epochs", 6, "-o", "whole/m")
    code = (
        "import os, sys\n"
        "from affcli.models.training import saved_state as progress\n"
        "save = progress.Progress.save\n"
        "def dying(self, state):\n"
        "    save(self, state)\n"
        "    len(state.reports) == 3 and os.kill(os.getpid(), 9)\n"
        "progress.Progress.save = dying\n"
        "from affcli.cli import run; run(sys.argv[1:])\n"
    )
    arguments = ("train", *GIVEN, "--epochs", 6, "--storage", "disk", "-o", "killed/m")
    assert Warm(tables, *arguments, code=code).wait() == -signal.SIGKILL
    assert [path.name for path in (tables / "killed").iterdir()] == ["m.unfinished"]
    said = affcli("train", *GIVEN, "--epochs", 6, "--storage", "memory", "-o", "killed/m").stderr
    assert "going on after epoch 3" in said
    assert (tables / "killed" / "m").read_bytes() == (tables / "whole" / "m").read_bytes()


@pytest.mark.parametrize(("free", "processes", "mapped"), [(8001, 1, False), (7999, 1, True), (8001, 2, True)])
def test_features_of_more_than_half_the_free_memory_go_to_disk_with_a_note(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    free: int,
    processes: int,
    mapped: bool,
) -> None:
    monkeypatch.setattr(feature_storage, "free_memory", lambda: free)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    with caplog.at_level(logging.WARNING):
        rows = Storage("auto", tmp_path).room(100, (12, 8))  # 100 · 20 · 2 bytes = 4000
    assert isinstance(rows[0], MappedRows) == isinstance(rows[1], MappedRows) == mapped
    assert ("--storage memory" in caplog.text) == mapped


def test_a_full_disk_is_one_line_that_says_how_much_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = MappedRows(10, 4, tmp_path)
    monkeypatch.setattr(rows, "file", Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115 - closed with rows
    with pytest.raises(AffcliError, match=r"no room for 0\.0 GB of features \(No space left on device\)"):
        rows.put(0, np.ones((10, 4), np.float16))
    with pytest.raises(AffcliError, match="no room for"):
        MappedRows(10, 4, tmp_path / "absent")


def mapped_mb() -> float:
    """What this process holds of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssFile:", "RssShmem:"))) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what is held of files is read from Linux's /proc")
def test_features_on_disk_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    frames, size = 20_000, 1_024  # 82 MB in both streams
    stored = Storage("disk", tmp_path).room(frames, (size, size))
    for rows in stored:
        for first in range(0, frames, 1_000):
            rows.put(first, np.full((1_000, size), first / 1_000, np.float16))
        rows.finish()
    valid = torch.ones(frames, dtype=torch.bool)
    all_of_them = Frames(("v",), np.array([0, frames]), stored[0].tensor, valid, stored[1].tensor, valid, stored)
    before = mapped_mb()
    for first in range(0, frames, 1_000):
        visual, _ = all_of_them.gather(torch.arange(first, first + 1_000))
        assert visual[-1, -1] == first / 1_000
        assert mapped_mb() < before + 8
    all_of_them.digest()
    assert mapped_mb() < before + 8
