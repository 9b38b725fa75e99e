"""The examples for make and Snakemake: only what is out of date is done, and inputs that fail stop nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.extracting import SMALL
from helpers.media_fixtures import write_frames

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def place(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clip, a file that is none, and `affcli` on the path."""
    (tmp_path / "videos").mkdir()
    write_frames(tmp_path / "videos" / "a b.mkv", [SMALL] * 4, fps=4)
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_does_what_is_out_of_date_and_no_more(place: Path) -> None:
    make = ("make", "-f", str(EXAMPLES / "Makefile"), "VIDEOS=videos", "OUT=results", "KERNEL=3")
    done = run(*make)
    assert done.returncode == 0, done.stderr
    assert "bad.mp4: not a video or sound file" in done.stderr
    results = place / "results"
    assert pq.read_table(results / "smooth.parquet").num_rows == 4
    for name in ("segments.csv", "captions/a b.srt", "elan/a b.eaf", "report.html", "label/frames/a b.parquet"):
        assert (results / name).is_file(), name
    assert 'MIME_TYPE="video/*"' in (results / "elan" / "a b.eaf").read_text()
    assert run(*make, "-q").returncode == 0
    (results / "smooth.parquet").unlink()
    commands = [line.split()[1] for line in run(*make).stdout.splitlines() if line.startswith("affcli")]
    assert sorted(commands) == ["export", "export", "export", "smooth"]
    later_s = (results / "report.html").stat().st_mtime + 10  # as if a video had been added just now
    os.utime(place / "videos", (later_s, later_s))
    planned = run(*make, "-n").stdout
    assert "affcli label videos --model mini --update" in planned
    assert "affcli report" in planned


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="Snakemake is not installed")
def test_snakemake_exports_a_file_per_video(place: Path) -> None:
    config = ("--config", "videos=videos", "out=results", "kernel=3")
    snakemake = ("snakemake", "-s", str(EXAMPLES / "Snakefile"), "--cores", "1", *config)
    done = run(*snakemake)
    assert done.returncode == 0, done.stderr
    for name in ("segments/a b.csv", "srt/a b.srt", "elan/a b.eaf", "smooth/a b.parquet", "report.html"):
        assert (place / "results" / name).is_file(), name
    again = run(*snakemake)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr
