"""Where the tables of affcli label lie: other programs read them as they stand, and older folders are still read."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.fake_extraction import Process, make
from helpers.runners import Affcli

from affcli.errors import AffcliError, ForeignError
from affcli.schema import METADATA_KEY, metadata_of
from affcli.tables.label_tables import label_tables, table_name
from affcli.tables.reader import tables_in

# Names that readers of folders and patterns may treat in ways of their own.
ODD = ("_x", ".y", "a b", "50%", "k=1", "s1/clip", "summary", "[z]*?", "é")
TEXT = "some text"


def labelled(folder: Path, names: tuple[str, ...] = ("a", "b"), text: str = TEXT) -> Path:
    """`folder/out`, as label makes it of inputs with these names."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("bad" if name == "bad" else text)
    assert make("folder", folder, names).outcome == "written"
    return folder / "out"


def as_0_1_0_wrote_it(out: Path) -> Path:
    """The same folder with all tables beside the summary, and the version in their metadata."""
    for path in [*out.glob("frames/*.parquet"), out / "summary.parquet"]:
        table = pq.read_table(path)
        facts = {**metadata_of(table.schema), "version": "0.1.0"}
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(facts)}), out / path.name)
    shutil.rmtree(out / "frames")
    return out


def tree(folder: Path) -> list[str]:
    """All files but the one that tells how the last run went."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "status.json"]
    return sorted(path.relative_to(folder).as_posix() for path in files)


# --- other programs --------------------------------------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with odd names, and what a run that was killed may leave in it."""
    out = labelled(tmp_path, ODD)
    (out / "frames" / ".a.parquet.affcli-0123456789abcdef.tmp").write_bytes(b"PAR1")
    (out / "unfinished.parts").mkdir()
    (out / "unfinished.parts" / "lock").touch()
    monkeypatch.chdir(tmp_path)
    return out


def test_pandas_reads_the_folder_as_it_stands(odd: Path) -> None:
    frames = pd.read_parquet("out/frames")
    assert frames.groupby("video").size().to_dict() == dict.fromkeys(sorted(ODD), len(TEXT))


def test_polars_scans_the_folder_as_it_stands(odd: Path) -> None:
    polars = pytest.importorskip("polars")
    counts = polars.scan_parquet("out/frames/*.parquet").group_by("video").len().collect()
    assert dict(counts.iter_rows()) == dict.fromkeys(ODD, len(TEXT))


def test_duckdb_reads_a_pattern_as_it_stands(odd: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    counts = duckdb.sql("SELECT video, count(*) FROM 'out/frames/*.parquet' GROUP BY ALL").fetchall()
    assert dict(counts) == dict.fromkeys(ODD, len(TEXT))


@pytest.mark.parametrize(
    "line", ["printf '%s\\0' out/frames/*.parquet | xargs -0 -n1 -P2 echo", "parallel echo {} ::: out/frames/*.parquet"]
)
def test_xargs_and_gnu_parallel_get_one_file_per_video(odd: Path, line: str) -> None:
    if line.startswith("parallel") and shutil.which("parallel") is None:
        pytest.skip("GNU parallel is not installed")
    said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    assert sorted(said.splitlines()) == sorted(f"out/frames/{table_name(video)}" for video in ODD)


def test_the_folder_and_its_tables_are_the_same_to_our_commands(odd: Path, affcli: Affcli) -> None:
    (odd / "mine.parquet").write_text("lies beside the summary, and is none of label's")
    outputs = []
    for source in ("out", "out/frames"):
        said = affcli("vote", source, "-o", "v.csv", "-f").stderr
        assert ("labelling is not finished here" in said) == (source == "out")
        outputs.append((odd.parent / "v.csv").read_text())
    assert outputs[0] == outputs[1]
    assert outputs[0].count("\n") == 1 + len(ODD) * len(TEXT)


def test_a_page_of_an_unfinished_folder_says_so(odd: Path, affcli: Affcli) -> None:
    assert "labelling is not finished here" in affcli("report", "out", "-o", "r.html").stderr
    assert "Labelling was not finished when this page was made" in (odd.parent / "r.html").read_text()


# --- folders of 0.1.0 ------------------------------------------------------------------------------------------------


def test_every_command_reads_a_folder_as_0_1_0_wrote_it(
    tmp_path: Path, affcli: Affcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_0_1_0_wrote_it(labelled(tmp_path, ("a", "_b")))
    assert tree(tmp_path / "out") == ["%5Fb.parquet", "a.parquet", "summary.csv", "summary.parquet"]
    (tmp_path / "out" / "%5Fb.parquet").rename(tmp_path / "out" / "_b.parquet")  # as it was named then
    labels = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n" + "0\n" * len(TEXT)
    (tmp_path / "labels").mkdir()
    for name in ("a", "_b"):
        (tmp_path / "labels" / f"{name}.txt").write_text(labels)
    assert json.loads(affcli("score", "out", "--labels", "labels", "--json").stdout)["videos"] == 2
    for command in ("vote", "smooth"):
        affcli(command, "out", "-o", f"{command}.csv")
        assert len((tmp_path / f"{command}.csv").read_text().splitlines()) == 1 + 2 * len(TEXT)
    affcli("export", "out", "--to", "elan", "-o", "elan")
    assert tree(tmp_path / "elan") == ["_b.eaf", "a.eaf"]
    affcli("report", "out", "-o", "report.html", "-q")
    assert '"name":"_b"' in (tmp_path / "report.html").read_text()
    pytest.importorskip("matplotlib")
    affcli("plot", "out", "-o", "plots", "--format", "svg")
    assert tree(tmp_path / "plots") == ["_b.svg", "a.svg"]


def test_a_rerun_moves_the_tables_and_labels_nothing_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = labelled(tmp_path, ("a", "_b", "bad"))
    new = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    as_0_1_0_wrote_it(out)
    (out / "%5Fb.parquet").rename(out / "_b.parquet")
    (out / "notes.txt").write_text("mine")
    seen: list[None] = []
    summary = make("folder", tmp_path, ["a", "_b", "bad"], step=lambda: seen.append(None))
    assert (summary.outcome, summary.videos, summary.failed, seen) == ("written", 2, ("bad",), [])
    assert f"moved 2 tables to {out / 'frames'}" in caplog.text
    assert tree(out) == ["frames/%5Fb.parquet", "frames/a.parquet", "notes.txt", "summary.csv", "summary.parquet"]
    assert (out / "summary.parquet").read_bytes() == new[out / "summary.parquet"]
    assert make("folder", tmp_path, ["a", "_b", "bad"]).outcome == "nothing to do"


def test_more_inputs_join_an_older_folder_and_force_leaves_no_second_copy(tmp_path: Path) -> None:
    as_0_1_0_wrote_it(labelled(tmp_path))
    (tmp_path / "c").write_text("new")
    (tmp_path / "a").write_text("changed")
    with pytest.raises(AffcliError, match="other inputs"):
        make("folder", tmp_path, ["a", "b", "c"])
    assert "frames/a.parquet" not in tree(tmp_path / "out")
    make("folder", tmp_path, ["a", "b", "c"], update=True)
    expected = [*(f"frames/{name}.parquet" for name in "abc"), "summary.csv", "summary.parquet"]
    assert tree(tmp_path / "out") == expected
    assert pq.read_table(tmp_path / "out" / "frames" / "a.parquet").num_rows == len("changed")
    as_0_1_0_wrote_it(tmp_path / "out")
    with pytest.raises(AffcliError, match="other settings"):
        make("folder", tmp_path, ["a", "b", "c"], factor=2)
    make("folder", tmp_path, ["a", "b", "c"], factor=2, force=True)
    assert tree(tmp_path / "out") == expected


def test_while_a_rerun_is_interrupted_every_frame_is_in_one_table(tmp_path: Path) -> None:
    kills, old = 0, tmp_path / "old"
    old.mkdir()
    as_0_1_0_wrote_it(labelled(old, ("a", "b", "c")))
    (old / "b").write_text("changed")
    for number in range(1, 60):
        folder = shutil.copytree(old, tmp_path / str(number))
        out = folder / "out"
        if Process("folder", folder, ("a", "b", "c"), dies_at=number, update=True).wait() != "killed":
            break
        kills += 1
        tables = [pq.read_table(name, columns=["video", "frame"]) for name in tables_in(str(out))]
        videos = pa.concat_tables(tables).group_by("video").aggregate([("frame", "count")])
        counts = dict(zip(*videos.to_pydict().values(), strict=True))
        assert counts in [{"a": 9, "b": size, "c": 9} for size in (len(TEXT), len("changed"))]
        make("folder", folder, ("a", "b", "c"), update=True)
        assert [path.name for path in out.glob("*.parquet")] == ["summary.parquet"]
    assert kills > 8


# --- what is not ours ------------------------------------------------------------------------------------------------


def test_a_folder_frames_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out" / "frames").mkdir(parents=True)
    (tmp_path / "out" / "frames" / "00001.jpg").write_text("a picture")
    (tmp_path / "a").write_text(TEXT)
    with pytest.raises(ForeignError, match="out/frames: exists already, and affcli label has not made it"):
        make("folder", tmp_path, ["a"])
    assert label_tables(tmp_path / "out") == []
    make("folder", tmp_path, ["a"], force=True)
    assert "frames/00001.jpg" in tree(tmp_path / "out")


def test_a_file_named_frames_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "frames").write_text("mine")
    with pytest.raises(AffcliError, match="out/frames: is a file"):
        make("folder", tmp_path, ["a"], force=True)


def test_another_folder_with_a_folder_frames_in_it_is_a_folder_of_tables(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    pq.write_table(pa.table({"video": ["x"]}), tmp_path / "frames" / "x.parquet")
    pq.write_table(pa.table({"video": ["y"]}), tmp_path / "y.parquet")
    assert tables_in(str(tmp_path)) == [str(tmp_path / "y.parquet")]
