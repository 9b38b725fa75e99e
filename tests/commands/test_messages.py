"""What commands say where they are called wrongly: the hint leads to a call that works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.frame_tables import predictions, write_labels, write_ours
from helpers.runners import Affcli

from affcli.errors import InstallationError
from affcli.media.failures import failure_of


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("lable", "label"), ("extract_visual", "extract-visual"), ("trian", "train"), ("SCORE", "score")],
)
def test_an_unknown_command_gets_a_suggestion(affcli: Affcli, typed: str, meant: str) -> None:
    said = affcli(typed, "x", status=2).stderr
    assert said.startswith(f"affcli: No such command '{typed}'. Did you mean {meant}")


def test_a_missing_choice_is_named_on_one_line(affcli: Affcli) -> None:
    said = affcli("export", "x.parquet", status=2).stderr
    assert said == (
        "affcli export: Missing option '--to'. Choose from: abaw, labels, csv, segments, vtt, srt, elan. "
        "See: affcli export --help\n"
    )


def test_format_is_named_only_where_there_is_such_an_option(tmp_path: Path, affcli: Affcli) -> None:
    write_ours(tmp_path / "F.parquet", predictions(a=[1, 2]))
    assert "choose the format with --format" in affcli("vote", "F.parquet", "-o", "x.foo", status=2).stderr
    affcli("vote", "F.parquet", "-o", "x.foo", "--format", "csv")
    said = affcli("export", "F.parquet", "--to", "segments", "-o", "y.foo", status=2).stderr
    assert "'.foo' is not a table format affcli knows" in said
    assert "--format" not in said


def test_hints_for_columns_of_unknown_classes_lead_to_a_score(tmp_path: Path, affcli: Affcli) -> None:
    pd.DataFrame({"video": "a", "frame": [1, 2], "x": [1, 0], "y": [0, 1]}).to_csv(tmp_path / "t.csv", index=False)
    write_labels(tmp_path / "labels", a=[1, 4])
    score = ("score", "t.csv", "--labels", "labels")
    assert "Name them with --classes" in affcli(*score, status=1).stderr
    said = affcli(*score, "--classes", "x,y", status=2).stderr
    assert said.rstrip().endswith("Say which class each is: --map x=CLASS --map y=CLASS.")
    told = affcli(*score, "--classes", "x,y", "--map", "x=Anger", "--map", "y=Happiness", "--json").stdout
    assert json.loads(told)["accuracy"] == 1


def test_a_table_without_numbers_is_not_sent_to_classes(tmp_path: Path, affcli: Affcli) -> None:
    (tmp_path / "t.csv").write_text("video,frame,word\na,1,x\n")
    (tmp_path / "l.csv").write_text("video,frame,label\na,1,Anger\n")
    write_labels(tmp_path / "labels", a=[1])
    said = affcli("vote", "t.csv", status=1).stderr
    assert "has no columns of logits: none of its other columns (word) holds numbers" in said
    assert "score and export take another by --label-column" in said
    said = affcli("calibrate", "l.csv", "--labels", "labels", "-o", "c.json", status=1).stderr
    assert said.endswith("has labels but no logits. No column of it holds numbers that could be logits.\n")


def test_a_report_is_not_written_under_the_name_of_a_table(tmp_path: Path, affcli: Affcli) -> None:
    write_ours(tmp_path / "F.parquet", predictions(a=[1, 2]))
    write_labels(tmp_path / "labels", a=[1, 2])
    for name in ("x.csv", "x.parquet", "X.TSV"):
        said = affcli("score", "F.parquet", "--labels", "labels", "-o", name, status=2).stderr
        assert said.endswith(f"{name}: the report is no table; end its name in .json (all figures) or .txt.\n")
        assert not (tmp_path / name).exists()
    affcli("score", "F.parquet", "--labels", "labels", "-o", "x.txt")


def test_confusion_says_what_is_missing(tmp_path: Path, affcli: Affcli) -> None:
    write_ours(tmp_path / "F.parquet", predictions(a=[1, 2]))
    write_labels(tmp_path / "labels", a=[1, 2])
    plot = ("plot", "F.parquet", "--confusion")
    assert affcli(*plot, "-o", "x.png", status=2).stderr == "affcli plot: --confusion needs --labels.\n"
    said = affcli(*plot, "--labels", "labels", "-o", "x.bmp", status=2).stderr
    assert said.startswith("affcli plot: x.bmp: --confusion writes one picture; end its name in .png")


def test_label_does_not_make_a_folder_under_the_name_of_a_table(tmp_path: Path, affcli: Affcli) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    for name in ("x.parquet", "x.csv"):
        said = affcli("label", "a.mp4", "-o", name, status=2).stderr
        assert said.endswith(f"Name a folder, such as x/; a folder of that very name is written {name}/.\n")
        assert not (tmp_path / name).exists()


def test_csv_takes_a_folder_in_and_out_as_other_targets_do(tmp_path: Path, affcli: Affcli) -> None:
    (tmp_path / "tables").mkdir()
    for video in ("a", "b"):
        write_ours(tmp_path / "tables" / f"{video}.parquet", predictions(**{video: [1, 2]}))
    both = affcli("export", "tables", "--to", "csv").stdout
    header, *rows = both.splitlines()
    assert [row.split(",")[:2] for row in rows] == [["a", "1"], ["a", "2"], ["b", "1"], ["b", "2"]]
    affcli("export", "tables", "--to", "csv", "-o", "out/")
    assert (tmp_path / "out/a.csv").read_text().splitlines() == [header, *rows[:2]]
    assert (tmp_path / "out/b.csv").read_text().splitlines() == [header, *rows[2:]]
    assert "holds files already" in affcli("export", "tables", "--to", "csv", "-o", "out", status=1).stderr
    affcli("export", "tables", "--to", "csv", "--probabilities", "-o", "out/", "--force")
    assert (tmp_path / "out/a.csv").read_text().splitlines()[0].endswith("Other,label,confidence")


@pytest.mark.parametrize(("module", "package"), [("PIL", "pillow"), ("onnxruntime", "onnxruntime")])
def test_a_missing_library_is_named_and_no_bug(tmp_path: Path, module: str, package: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    code = f"""
import importlib.abc, sys

class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "{module}":
            raise ModuleNotFoundError("No module named '{module}'", name="{module}")

sys.meta_path.insert(0, Without())
from affcli.cli import main
main(["extract-visual", "a.mp4", "--model", "mini", "-o", "V.parquet"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith(
        f"the library {package} cannot be imported (No module named '{module}'). Install it: pip install {package}"
    )


def test_a_missing_library_is_no_failure_of_an_input() -> None:
    with pytest.raises(InstallationError, match=r"^the library pillow cannot be imported .*: pip install pillow$"):
        failure_of(Path("a.mp4"), ModuleNotFoundError("No module named 'PIL'", name="PIL"))
    assert "could not be decoded" in failure_of(Path("a.mp4"), RuntimeError("odd"))
