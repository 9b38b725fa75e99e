"""Timelines reduced to columns, and the pictures made of them."""

from __future__ import annotations

import functools
import io
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pandas as pd
import pytest
from helpers.frame_tables import call, predictions, write_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from affcli.palette import PALETTE, channels
from affcli.views.labelled_video import LabelledVideo, lengths_s
from affcli.views.timeline import bands, gap_bands, timeline

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def affcli(capsys):
    return functools.partial(call, capsys)


def video(label, probability=None, *, start_s=None, frame=None, face=None) -> LabelledVideo:
    label = np.array(label, np.int64)
    frame = np.arange(1, len(label) + 1) if frame is None else np.array(frame)
    start_s = None if start_s is None else np.array(start_s, float)
    end_s = None if start_s is None else start_s + lengths_s(frame, start_s)
    probability = None if probability is None else np.array(probability, float)
    face = None if face is None else np.array(face)
    return LabelledVideo("v", ("A", "B"), frame, label, start_s, end_s, probability, face, None, None)


# --- columns ---------------------------------------------------------------------------------------------------------


def test_a_short_video_keeps_every_frame_as_wide_as_it_is_shown() -> None:
    found = timeline(video([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], start_s=[0, 0.1, 0.5]), 100)
    assert found.edge.tolist() == pytest.approx([0, 0.1, 0.5, 0.9])
    assert found.label.tolist() == [0, 1, 1]
    assert found.mean.tolist() == found.peak.tolist() == [[0.9, 0.2, 0.3], [0.1, 0.8, 0.7]]
    assert (found.timed, found.frames, found.length) == (True, 3, pytest.approx(0.9))


def test_a_long_video_has_no_more_columns_than_asked_for() -> None:
    found = timeline(video([0, 0, 1, 1, 1, 0], [[p, 1 - p] for p in (0.6, 0.8, 0.1, 0.2, 0.3, 0.9)]), 2)
    assert found.edge.tolist() == [0, 3, 6]
    assert found.label.tolist() == [0, 1]
    assert found.mean[0].tolist() == pytest.approx([0.5, 1.4 / 3])
    assert found.peak[0].tolist() == pytest.approx([0.8, 0.9])
    assert not found.timed


def test_of_equally_frequent_labels_the_first_class_stands_and_any_label_before_none() -> None:
    assert timeline(video([1, 0, -1, 1]), 2).label.tolist() == [0, 1]


def test_frames_that_have_no_row_are_an_empty_column() -> None:
    found = timeline(video([0, 1], [[1, 0], [0, 1]], frame=[1, 9]), 50)
    assert found.edge.tolist() == [0, 1, 8, 9]
    assert found.label.tolist() == [0, -1, 1]
    assert np.isnan(found.mean[:, 1]).all()


def test_a_frame_longer_than_a_column_fills_all_that_it_covers() -> None:
    start_s = [0, 0.01, 0.02, 0.03, 0.04, 0.05, 3, 4]  # variable frame rate: one frame is on for 2.95 s
    found = timeline(video([0, 0, 0, 0, 0, 1, 0, 0], start_s=start_s), 5)
    assert found.label.tolist() == [0, 1, 1, 0, 0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20)
)
def test_columns_are_the_brute_force_means_and_modes(rows, columns) -> None:
    label, p, face = (list(part) for part in zip(*rows, strict=True))
    found = timeline(video(label, [[x, 1 - x] for x in p], face=face), columns)
    assert len(found.label) <= columns or len(found.label) == len(rows) <= columns
    for k, (low, high) in enumerate(zip(found.edge[:-1], found.edge[1:], strict=True)):
        inside = [i for i in range(len(rows)) if low <= i < high] or [int((low + high) / 2)]
        assert found.mean[0, k] == pytest.approx(np.mean([p[i] for i in inside]))
        assert found.peak[0, k] == pytest.approx(max(p[i] for i in inside))
        assert found.face is not None
        assert found.face[k] == pytest.approx(np.mean([face[i] for i in inside]))
        counts = [sum(label[i] == value for i in inside) for value in (0, 1, -1)]
        assert found.label[k] == (0, 1, -1)[int(np.argmax(counts))]


def test_bands_are_runs_of_columns() -> None:
    edge = np.array([0, 1, 2, 4, 5.0])
    assert bands(edge, np.array([3, 3, -1, 3])) == [(0, 2, 3), (4, 5, 3)]
    assert gap_bands(edge, np.array([1, 0.4, 0, np.nan])) == [(1, 4)]


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    frames = predictions(clip=[4] * 40 + [5] * 40 + [None] * 20)
    frames["time_s"] = (frames["frame"] - 1) / 25
    frames["face"] = [True] * 50 + [False] * 50
    frames["audio"] = True
    frames.to_parquet(tmp_path / "F.parquet")
    return tmp_path / "F.parquet"


def colours_in(picture: bytes | Path) -> set[tuple[int, int, int]]:
    source = picture if isinstance(picture, Path) else io.BytesIO(picture)
    with Image.open(source) as image:
        counted = image.convert("RGB").getcolors(1 << 20) or []
    return {colour for count, colour in counted if count > 500}


def texts(svg: Path) -> list[str]:
    return ["".join(node.itertext()) for node in Xml.parse(svg).iter(f"{SVG}text")]


def test_a_timeline_shows_labels_gaps_and_a_row_a_class(tmp_path, affcli, table):
    assert affcli("plot", table, "-o", tmp_path / "clip.svg") == (0, "", "")
    said = texts(tmp_path / "clip.svg")
    assert {"clip", "0:04, 100 frames", *PALETTE} < set(said)
    assert "no face" in said
    assert "no sound" not in said  # nothing is missing there
    assert "0:02" in said


def test_a_png_holds_the_colours_of_what_it_shows(tmp_path, affcli, table):
    assert affcli("plot", table, "-o", tmp_path / "clip.png") == (0, "", "")
    found = colours_in(tmp_path / "clip.png")
    assert {channels(PALETTE["Happiness"]), channels(PALETTE["Sadness"])} <= found
    assert channels(PALETTE["Anger"]) not in found
    with Image.open(tmp_path / "clip.png") as image:
        assert image.width == pytest.approx(180 / 25.4 * 200, abs=1)


def test_the_truth_is_a_band_of_its_own(tmp_path, affcli, table):
    labels = write_labels(tmp_path / "labels", clip=[1] * 30 + [-1] * 70)
    affcli("plot", table, "--labels", labels, "-o", tmp_path / "clip.svg")
    assert "truth" in texts(tmp_path / "clip.svg")
    affcli("plot", table, "--labels", labels, "-o", tmp_path / "clip.png")
    assert channels(PALETTE["Anger"]) in colours_in(tmp_path / "clip.png")


def test_the_same_table_gives_the_same_bytes(tmp_path, affcli, table):
    for suffix in ("png", "svg"):
        for name in "ab":
            affcli("plot", table, "-o", tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_names_are_text_and_neither_formula_nor_markup(tmp_path, affcli, table):
    name = 'a$\\frac{1}{0}$<script>alert("&")</script>'
    frames = pd.read_parquet(table).assign(video=name)
    frames = frames.rename(columns={"Anger": "$rage^<b>"})
    frames.to_parquet(tmp_path / "G.parquet")
    arguments = ("--classes", ",".join(c for c in frames.columns if c in PALETTE or c.startswith("$")))
    status, _, err = affcli("plot", tmp_path / "G.parquet", *arguments, "-o", tmp_path / "g.svg")
    assert (status, err) == (0, "")
    assert {name, "$rage^<b>"} < set(texts(tmp_path / "g.svg"))
    assert not list(Xml.parse(tmp_path / "g.svg").iter(f"{SVG}script"))


def test_two_hours_are_as_light_as_ten_minutes(tmp_path, affcli):
    pytest.importorskip("matplotlib")
    sizes = []
    for minutes in (10, 120):
        count = minutes * 60 * 25
        frames = predictions(a=[0]).loc[[0] * count].reset_index(drop=True)
        frames["frame"] = range(1, count + 1)
        frames["time_s"] = (frames["frame"] - 1) / 25
        frames[list(PALETTE)] = np.random.default_rng(minutes).normal(size=(count, 8))
        frames.to_parquet(tmp_path / "F.parquet")
        assert affcli("plot", tmp_path / "F.parquet", "-o", tmp_path / "f.svg", "-f")[0] == 0
        sizes.append((tmp_path / "f.svg").stat().st_size)
    assert sizes[1] < 1.05 * sizes[0] < 700_000


def test_any_number_of_foreign_classes_is_drawn(tmp_path, affcli, table):
    for count in (2, 11):
        names = [f"state {i}" for i in range(count)]
        rows = pd.DataFrame(np.random.default_rng(0).normal(size=(30, count)), columns=names)
        rows.insert(0, "frame", range(1, 31))
        rows.insert(0, "video", "v")
        rows.to_parquet(tmp_path / "G.parquet")
        status, _, _ = affcli(
            "plot", tmp_path / "G.parquet", "--classes", ",".join(names), "-o", tmp_path / "g.svg", "-f"
        )
        assert status == 0
        assert {*names, "frame"} <= set(texts(tmp_path / "g.svg"))


def test_a_folder_gets_a_picture_a_video(tmp_path, affcli, table):
    predictions(a=[1, 2], b=[3]).to_parquet(tmp_path / "G.parquet")
    assert affcli("plot", tmp_path / "G.parquet", "-o", tmp_path / "out", "--format", "svg") == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.svg", "b.svg"]
    status, _, err = affcli("plot", tmp_path / "G.parquet", "-o", tmp_path / "x.png")
    assert (status, err.count("\n")) == (2, 1)
    assert "has 2 videos; name one with --video" in err
    assert affcli("plot", tmp_path / "G.parquet", "--video", "b", "-o", tmp_path / "x.png")[0] == 0
    assert "has no video 'c' (videos: a, b)" in affcli("plot", tmp_path / "G.parquet", "--video", "c", "-o", "y.png")[2]


def test_a_picture_of_another_kind_is_refused_not_made_a_folder(tmp_path, affcli, table):
    status, _, err = affcli("plot", table, "-o", tmp_path / "x.gif")
    assert (status, err.count("\n")) == (2, 1)
    assert "'.gif' is none of .png, .svg, .pdf. A folder of that name is written" in err
    assert affcli("plot", table, "-o", f"{tmp_path}/v1.2/")[0] == 0
    assert (tmp_path / "v1.2" / "clip.png").is_file()


def test_the_confusion_matrix_has_the_shares_of_each_row(tmp_path, affcli, table):
    labels = write_labels(tmp_path / "labels", clip=[4] * 30 + [1] * 10 + [5] * 40)
    assert affcli("plot", table, "--labels", labels, "--confusion", "-o", tmp_path / "c.svg") == (0, "", "")
    said = texts(tmp_path / "c.svg")
    assert any(text.startswith("macro F1 0.") for text in said)
    assert said.count("100.0") == 3  # happiness and sadness are right, anger is taken for happiness
    assert "30" in said
    assert affcli("plot", table, "--confusion", "-o", tmp_path / "d.svg")[0] == 2


def test_without_matplotlib_the_extra_is_named(tmp_path, table):
    hide = "import sys; sys.modules['matplotlib'] = None; from affcli.cli import main; main()"
    command = [sys.executable, "-c", hide, "plot", str(table), "-o", str(tmp_path / "x.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install 'affcli[plot]'" in done.stderr


def test_size_is_in_millimetres_and_texts_keep_theirs(tmp_path, affcli, table):
    sizes = {}
    for size in ("85", "85x60", "200x120.5"):
        assert affcli("plot", table, "--size", size, "-o", tmp_path / "x.png", "-f") == (0, "", "")
        with Image.open(tmp_path / "x.png") as image:
            sizes[size] = [round(side / 200 * 25.4, 1) for side in image.size]
        affcli("plot", table, "--size", size, "-o", tmp_path / "x.svg", "-f")
        assert re.search("8px[ ;]", (tmp_path / "x.svg").read_text())
    assert sizes["85x60"] == pytest.approx([85, 60], abs=0.2)
    assert sizes["200x120.5"] == pytest.approx([200, 120.5], abs=0.2)
    assert sizes["85"][0] == pytest.approx(85, abs=0.2)


def test_a_size_that_is_too_small_says_which_would_do(tmp_path, affcli, table):
    status, _, err = affcli("plot", table, "--size", "85x20", "-o", tmp_path / "x.pdf")
    assert (status, err.count("\n")) == (2, 1)
    least = re.search(r"takes (\d+x\d+) mm at least", err)
    assert least
    assert not (tmp_path / "x.pdf").exists()
    assert affcli("plot", table, "--size", least[1], "-o", tmp_path / "x.pdf")[0] == 0
    for size in ("wide", "0", "85x", "-5", "5cm"):
        assert "in millimetres" in affcli("plot", table, "--size", size, "-o", tmp_path / "y.pdf")[2]


def test_a_title_replaces_the_name_of_one_video_and_stands_before_those_of_a_folder(tmp_path, affcli, table):
    affcli("plot", table, "--title", "Figure 1", "-o", tmp_path / "x.svg")
    assert {"Figure 1", "clip"} & set(texts(tmp_path / "x.svg")) == {"Figure 1"}
    affcli("plot", table, "--title", "", "-o", tmp_path / "y.svg")
    assert "clip" not in texts(tmp_path / "y.svg")
    affcli("plot", table, "--title", "Study", "--format", "svg", "-o", tmp_path / "out")
    assert "Study: clip" in texts(tmp_path / "out" / "clip.svg")
    # A long title of a narrow picture takes the place of the figures.
    affcli("plot", table, "--title", "Participant 12, session 3", "--size", 85, "-o", tmp_path / "z.svg")
    assert {"Participant 12, session 3", "0:04, 100 frames"} & set(texts(tmp_path / "z.svg")) == {
        "Participant 12, session 3"
    }


def test_a_pdf_has_one_page_of_that_size_with_embedded_fonts_and_no_date(tmp_path, affcli, table):
    labels = write_labels(tmp_path / "labels", clip=[4] * 40 + [5] * 40 + [-1] * 20)
    for arguments, width_mm in ((("--size", "90x70"), 90), (("--labels", labels, "--confusion"), 180)):
        written = []
        for _ in range(2):
            assert affcli("plot", table, *arguments, "-o", tmp_path / "x.pdf", "-f")[0] == 0
            written.append((tmp_path / "x.pdf").read_bytes())
        assert written[0] == written[1]
        page = re.findall(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+) *\]", written[0])
        assert len(page) == 1
        assert float(page[0][0]) == pytest.approx(width_mm / 25.4 * 72, abs=0.1)
        assert b"/FontFile2" in written[0]
        assert b"/CreationDate" not in written[0]
    affcli("plot", table, "--format", "pdf", "-o", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.pdf"]


def test_a_confusion_matrix_under_another_suffix_is_told_which_there_are(tmp_path, affcli, table):
    labels = write_labels(tmp_path / "labels", clip=[4] * 100)
    err = affcli("plot", table, "--labels", labels, "--confusion", "-o", "c.gif")[2]
    assert err == "affcli plot: c.gif: --confusion writes one picture; end its name in .png or .svg or .pdf.\n"
