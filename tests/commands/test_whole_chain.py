"""The whole chain through real processes and pipes, from clips to a score."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.feature_tables import class_features, write_audio, write_labels, write_visual
from helpers.media_fixtures import H264, astronaut, ffmpeg, write_frames
from helpers.runners import Affcli
from helpers.warm import AFFCLI, Warm

LABELS = {"a": [4] * 40, "b": [0] * 40, "c": [5] * 20 + [1] * 20}
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def affcli_on_the_path(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def shell(script: str, folder: Path, *, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f"set -euo pipefail\n{script}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained model, its feature tables and its labels."""
    folder = tmp_path_factory.mktemp("trained")
    write_visual(folder / "V.parquet", class_features(LABELS, 12))
    write_audio(folder / "A.parquet", class_features(LABELS, 6, seed=1))
    write_labels(folder / "labels", LABELS)
    tables = ("--visual", "V.parquet", "--audio", "A.parquet", "--labels", "labels")
    network = ("--dim", 16, "--layers", 1, "--heads", 2, "--lr", 3e-3, "--epochs", 30, "--batch-size", 2)
    training = Warm(folder, "train", *tables, *network, "-o", "m", "-q")
    assert training.wait() == 0, training.said
    return folder


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def test_predict_vote_smooth_score_in_one_pipe(model: Path) -> None:
    features = "--visual V.parquet --audio A.parquet"
    piped = shell(
        f"affcli predict --model m {features} | affcli vote | affcli smooth | tee F.parquet |"
        " affcli score --labels labels --json",
        model,
    )
    result = json.loads(piped.stdout)
    assert result["frames"] == 120
    assert result["coverage"] == 1
    assert result["accuracy"] > 0.9
    assert pq.read_table(model / "F.parquet").num_rows == 120

    steps = [f"predict --model m {features} -o w.parquet", "vote w.parquet -o v.csv", "smooth v.csv -o s.arrow"]
    shell("\n".join(f"affcli {step}" for step in steps), model)
    by_files = shell("affcli score s.arrow --labels labels --json", model)
    assert json.loads(by_files.stdout)["confusion"] == result["confusion"]


def test_a_reader_that_leaves_early_is_no_error(model: Path) -> None:
    done = shell("set +o pipefail; affcli predict --model m --visual V.parquet --format csv | head -n 2", model)
    assert done.stdout.splitlines()[0].startswith("video,window,frame,time_s,face,audio,Neutral")
    assert done.stderr == ""


ON_A_TERMINAL = f"""
import os, pty
pid, terminal = pty.fork()
if pid == 0:
    {AFFCLI}
try:
    while text := os.read(terminal, 1024):
        os.write(1, text)
except OSError:  # how Linux says that the other end is closed
    pass
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_binary_tables_are_not_written_to_a_terminal(model: Path) -> None:
    shown = Warm(model, "predict", "--model", "m", "--visual", "V.parquet", code=ON_A_TERMINAL)
    assert shown.wait() == 2
    assert "terminal" in shown.said
    assert "PAR1" not in shown.said


def test_training_shows_its_steps_on_a_terminal(model: Path) -> None:
    tables = ("--visual", "V.parquet", "--audio", "A.parquet", "--labels", "labels")
    shown = Warm(model, "train", *tables, "--dim", 8, "--heads", 2, "--epochs", 2, "-o", "new", code=ON_A_TERMINAL)
    assert shown.wait() == 0, shown.said
    assert "2/2 epochs · loss " in shown.said
    assert "windows/s · 0:0" in shown.said


def test_label_folder_makes_one_table_and_goes_on_after_more_videos(tmp_path: Path, affcli: Affcli) -> None:
    clips = tmp_path / "my clips"
    clips.mkdir()
    face = astronaut()[::2, ::2]
    write_frames(clips / "one.mkv", [face] * 5)
    tables = ("--visual", "V.parquet", "--audio", "A.parquet")
    for kind in ("visual", "audio"):
        affcli(f"extract-{kind}", clips, "--model", "mini", "-o", f"{kind[0].upper()}.parquet", "-q")
    write_labels(tmp_path / "labels", {"one": [4] * 5})
    network = ("--dim", 8, "--layers", 1, "--heads", 2, "--epochs", 1)
    affcli("train", *tables, "--labels", "labels", *network, "-o", "model.safetensors", "-q")

    def label() -> subprocess.CompletedProcess[str]:
        command = ["bash", str(EXAMPLES / "label-folder.sh"), str(clips), "model.safetensors", "out"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = label()
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out" / "labels.parquet").num_rows == 5
    (clips / "bad.mp4").write_text("no video")
    picture, tone = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=0.7"), ("-f", "lavfi", "-i", "sine=d=0.7")
    ffmpeg(*picture, *tone, *H264, "-c:a", "aac", clips / "two.mkv")
    done = label()
    assert done.returncode == 3, done.stderr
    assert "bad.mp4" in done.stderr
    table = pq.read_table(tmp_path / "out" / "labels.parquet")
    assert table["video"].to_pylist() == ["one"] * 5 + ["two"] * 7
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 13
    assert len((tmp_path / "out" / "tables" / "summary.csv").read_text().splitlines()) == 4  # bad.mp4 too


def test_any_model_turns_foreign_logits_into_smoothed_labels(tmp_path: Path) -> None:
    script = f"bash {shlex.quote(str(EXAMPLES / 'any-model.sh'))}"
    (tmp_path / "in.csv").write_text("id,n,Neg,Pos\n" + "".join(f"x,{i},{int(i == 5)},0.5\n" for i in range(1, 10)))
    mine = "export VIDEO=id FRAME=n CLASSES=Neg,Pos KERNEL=3\n"
    shell(f"{mine}{script} in.csv out.csv", tmp_path)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "video,frame,time_s,votes,Neg,Pos,label"
    assert [line.rsplit(",", 1)[1] for line in lines[1:]] == ["Pos"] * 9
    assert "smile,30," in shell(script, tmp_path).stdout
