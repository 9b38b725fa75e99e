"""`affcli export --to segments|vtt|srt|elan`: read back by parsers and by pympi, whatever stands in the names."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.frame_tables import call, predictions, write_ours
from hypothesis import given
from hypothesis import strategies as st

from affcli.views.webvtt import clock, escaped

webvtt = pytest.importorskip("webvtt", reason="webvtt-py is not installed")
Eaf = pytest.importorskip("pympi", reason="pympi-ling is not installed").Elan.Eaf

HOSTILE = 'a <b>&amp; "x" --> y'


@pytest.fixture
def affcli(capsys):
    return functools.partial(call, capsys)


def timed(fps: float = 25, **videos: list[int | None]) -> pd.DataFrame:
    table = predictions(**videos)
    return table.assign(time_s=(table["frame"] - 1) / fps)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """10 frames a second: Happiness for 0.3 s, Neutral for 0.1 s, Sadness for 0.4 s, one frame without a label."""
    frames = timed(10, clip=[4, 4, 4, 0, 5, 5, 5, 5, None, 5])
    frames["face"] = [True] * 8 + [False, True]
    frames["audio"] = True
    frames.to_parquet(tmp_path / "F.parquet")
    return tmp_path / "F.parquet"


# --- segments --------------------------------------------------------------------------------------------------------


def test_segments_are_rows_of_a_table(tmp_path, affcli, table):
    assert affcli("export", table, "--to", "segments", "-o", tmp_path / "s.parquet") == (0, "", "")
    rows = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert [(r["start"], r["end"], r["start_s"], r["end_s"], r["label"]) for r in rows] == [
        (1, 3, 0.0, 0.3, "Happiness"),
        (4, 4, 0.3, 0.4, "Neutral"),
        (5, 8, 0.4, 0.8, "Sadness"),
        (10, 10, 0.9, 1.0, "Sadness"),
    ]
    assert [r["confidence"] for r in rows] == pytest.approx([1, 1, 1, 1], abs=1e-3)


def test_min_seconds_joins_the_short_one_to_the_longer_neighbour(affcli, table):
    out = affcli("export", table, "--to", "segments", "--min-seconds", 0.2)[1]
    assert [line.rsplit(",", 1)[0] for line in out.splitlines()] == [
        "video,start,end,start_s,end_s,label",
        "clip,1,3,0,0.3,Happiness",
        "clip,4,8,0.3,0.8,Sadness",
        "clip,10,10,0.9,1,Sadness",
    ]


def test_segments_without_times_keep_their_frames(tmp_path, affcli):
    predictions(a=[1, 1, 2]).to_csv(tmp_path / "F.csv", index=False)
    status, out, err = affcli("export", tmp_path / "F.csv", "--to", "segments")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].startswith("a,1,2,,,Anger,")
    assert (
        affcli("export", tmp_path / "F.csv", "--to", "segments", "--fps", 10)[1]
        .splitlines()[2]
        .startswith("a,3,3,0.2,0.3,Disgust,")
    )


@pytest.mark.parametrize("options", [("vtt",), ("srt",), ("elan",), ("segments", "--min-seconds", 1)])
def test_what_needs_times_says_so_in_a_line(tmp_path, affcli, options):
    predictions(a=[1, 1, 2]).to_csv(tmp_path / "F.csv", index=False)
    status, out, err = affcli("export", tmp_path / "F.csv", "--to", *options)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "F.csv: video 'a' has no times (column time_s). Give its rate with --fps." in err


def test_segments_of_foreign_classes(tmp_path, affcli):
    rows = pd.DataFrame({"video": "v", "frame": [1, 2, 3], "time_s": [0, 0.5, 1.0], "joy": [2.0, 2, 0], "rage": 1.0})
    rows.to_csv(tmp_path / "F.csv", index=False)
    out = affcli("export", tmp_path / "F.csv", "--to", "segments", "--classes", "joy,rage")[1]
    assert [line.split(",")[5] for line in out.splitlines()] == ["label", "joy", "rage"]


def test_foreign_labels_without_logits_are_segments_too(tmp_path, affcli):
    rows = pd.DataFrame({"video": "v", "frame": [1, 2, 3, 4], "label": ["bored", "bored", None, "amused"]})
    rows.to_csv(tmp_path / "F.csv", index=False)
    out = affcli("export", tmp_path / "F.csv", "--to", "segments", "--fps", 1)[1]
    assert out.splitlines()[1:] == ["v,1,2,0,2,bored,", "v,4,4,3,4,amused,"]


# --- WebVTT ----------------------------------------------------------------------------------------------------------


def test_captions_pass_a_parser_with_the_times_of_the_frames(tmp_path, affcli, table):
    assert affcli("export", table, "--to", "vtt", "-o", tmp_path / "clip.vtt") == (0, "", "")
    cues = webvtt.read(tmp_path / "clip.vtt")
    assert [(cue.start, cue.end, cue.text) for cue in cues] == [
        ("00:00:00.000", "00:00:00.300", "Happiness"),
        ("00:00:00.300", "00:00:00.400", "Neutral"),
        ("00:00:00.400", "00:00:00.800", "Sadness"),
        ("00:00:00.900", "00:00:01.000", "Sadness"),
    ]


def test_captions_of_several_videos_need_a_folder(tmp_path, affcli):
    timed(a=[1], **{"s1/b": [2]}).to_parquet(tmp_path / "F.parquet")
    status, _, err = affcli("export", tmp_path / "F.parquet", "--to", "vtt", "-o", tmp_path / "x.vtt")
    assert (status, err.count("\n")) == (2, 1)
    assert "name a folder, -o DIR" in err
    assert affcli("export", tmp_path / "F.parquet", "--to", "vtt", "-o", tmp_path / "out") == (0, "", "")
    assert (tmp_path / "out" / "s1" / "b.vtt").read_text() == "WEBVTT\n\n00:00:00.000 --> 00:00:00.040\nDisgust\n"
    assert affcli("export", tmp_path / "F.parquet", "--to", "vtt", "-o", tmp_path / "out")[0] == 1


@pytest.mark.parametrize("form", ["vtt", "srt", "elan"])
def test_another_suffix_is_refused_not_made_a_folder(tmp_path, affcli, table, form):
    status, _, err = affcli("export", table, "--to", form, "-o", tmp_path / "x.sub")
    assert (status, err.count("\n")) == (2, 1)
    assert not (tmp_path / "x.sub").exists()


@pytest.mark.parametrize("name", ["../up", "/etc/up"])
@pytest.mark.parametrize("form", ["vtt", "srt", "elan"])
def test_a_name_never_leads_out_of_the_folder(tmp_path, affcli, name, form):
    timed(a=[1]).assign(video=name).to_parquet(tmp_path / "F.parquet")
    status, _, err = affcli("export", tmp_path / "F.parquet", "--to", form, "-o", tmp_path / "out")
    assert (status, err.count("\n")) == (1, 1)
    assert "leads out of the output folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["F.parquet"]


def test_markup_in_a_label_is_text_in_the_caption(tmp_path, affcli):
    rows = pd.DataFrame({"video": "v", "frame": [1], "time_s": [0.0], "label": [HOSTILE]})
    rows.to_parquet(tmp_path / "F.parquet")
    text = affcli("export", tmp_path / "F.parquet", "--to", "vtt")[1]
    assert text.splitlines()[3] == 'a &lt;b&gt;&amp;amp; "x" --&gt; y'
    assert len(webvtt.from_string(text)) == 1


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    line = escaped(text)
    assert line.strip()
    assert len(line.splitlines()) == 1
    assert not {"<", ">"} & set(line)


def test_the_clock_counts_beyond_a_day() -> None:
    assert clock(3_723_004) == "01:02:03.004"
    assert clock(100 * 3_600_000) == "100:00:00.000"


# --- SubRip ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--min-seconds", 0.2), ("--confidence",)])
def test_subrip_has_the_cues_of_webvtt(tmp_path, affcli, table, options):
    for form in ("vtt", "srt"):
        affcli("export", table, "--to", form, *options, "-o", tmp_path / f"clip.{form}")
    both = [webvtt.read(tmp_path / "clip.vtt"), webvtt.from_srt(tmp_path / "clip.srt")]
    vtt, srt = ([(cue.start, cue.end, cue.text) for cue in found] for found in both)
    assert vtt == srt != []


def test_subrip_is_numbered_from_one_with_commas_in_its_times(affcli, table):
    lines = affcli("export", table, "--to", "srt")[1].splitlines()
    assert lines[:8] == [
        "1",
        "00:00:00,000 --> 00:00:00,300",
        "Happiness",
        "",
        "2",
        "00:00:00,300 --> 00:00:00,400",
        "Neutral",
        "",
    ]


def test_what_players_of_subrip_take_for_markup_is_written_in_other_signs(tmp_path, affcli):
    label = r"{\an8}<b>a</b> --> b & c"
    pd.DataFrame({"video": "v", "frame": [1], "time_s": [0.0], "label": [label]}).to_parquet(tmp_path / "F.parquet")
    text = affcli("export", tmp_path / "F.parquet", "--to", "srt")[1]
    assert text.splitlines()[2] == "(\\an8)\u2039b\u203aa\u2039/b\u203a --\u203a b & c"


def test_captions_of_a_folder_lie_beside_each_other(tmp_path, affcli):
    timed(a=[1], b=[2]).to_parquet(tmp_path / "F.parquet")
    for form in ("vtt", "srt"):
        assert affcli("export", tmp_path / "F.parquet", "--to", form, "-o", tmp_path / "out", "-f")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.srt", "a.vtt", "b.srt", "b.vtt"]


# --- ELAN ------------------------------------------------------------------------------------------------------------


def test_an_elan_document_loads_in_pympi(tmp_path, affcli, table):
    assert affcli("export", table, "--to", "elan", "-o", tmp_path / "clip.eaf") == (0, "", "")
    document = Eaf(str(tmp_path / "clip.eaf"))
    assert list(document.get_tier_names()) == ["expression", "no face"]
    assert sorted(document.get_annotation_data_for_tier("expression")) == [
        (0, 300, "Happiness"),
        (300, 400, "Neutral"),
        (400, 800, "Sadness"),
        (900, 1000, "Sadness"),
    ]
    assert document.get_annotation_data_for_tier("no face") == [(800, 900, "no face")]


def test_a_folder_gets_a_document_a_video(tmp_path, affcli):
    timed(a=[1], b=[2, 2]).to_parquet(tmp_path / "F.parquet")
    affcli("export", tmp_path / "F.parquet", "--to", "elan", "-o", tmp_path / "out")
    found = {
        path.name: Eaf(str(path)).get_annotation_data_for_tier("expression") for path in (tmp_path / "out").iterdir()
    }
    assert found == {"a.eaf": [(0, 40, "Anger")], "b.eaf": [(0, 80, "Disgust")]}


def links(path: Path) -> list[dict[str, str]]:
    return [dict(element.attrib) for element in ElementTree.parse(path).iter("MEDIA_DESCRIPTOR")]


def test_a_document_links_its_video_by_place_and_by_the_way_from_the_document(tmp_path, affcli):
    names = ["a b#1%&é", "s1/two", "voice", "none"]
    pd.concat([timed(x=[1]).assign(video=name) for name in names]).to_parquet(tmp_path / "F.parquet")
    for name in ("a b#1%&é.MP4", "s1/two.avi", "s1/two.wav", "voice.wav"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).touch()
    export = ("export", tmp_path / "F.parquet", "--to", "elan", "--videos", tmp_path / "clips")
    status, _, err = affcli(*export, "-o", tmp_path / "elan")
    assert (status, err) == (0, "affcli export: note: no video file was found for none; ELAN asks for it.\n")
    found = {name: links(tmp_path / "elan" / f"{name}.eaf") for name in names}
    expected = {
        "a b#1%&é": ("a b#1%&é.MP4", "video/mp4", "../clips/"),
        "s1/two": ("s1/two.avi", "video/*", "../../clips/"),
        "voice": ("voice.wav", "audio/x-wav", "../clips/"),
    }
    for name, (file, kind, way) in expected.items():
        [link] = found[name]
        assert link == {
            "MEDIA_URL": f"file://{tmp_path}/clips/{file}",
            "MIME_TYPE": kind,
            "RELATIVE_MEDIA_URL": f"{way}{file}",
        }
        # ELAN takes what follows `file:` for a path as it stands.
        assert Path(link["MEDIA_URL"].removeprefix("file:")).is_file()
        assert ((tmp_path / "elan" / name).parent / link["RELATIVE_MEDIA_URL"]).is_file()
    assert found["none"] == []
    assert Eaf(str(tmp_path / "elan" / "voice.eaf")).media_descriptors == found["voice"]


def test_videos_beside_the_tables_are_linked_without_being_named(tmp_path, affcli, table):
    (tmp_path / "clip.mpg").touch()
    affcli("export", table, "--to", "elan", "-o", tmp_path / "clip.eaf")
    [link] = links(tmp_path / "clip.eaf")
    assert (link["MIME_TYPE"], link["RELATIVE_MEDIA_URL"]) == ("video/mpeg", "./clip.mpg")


@pytest.mark.parametrize("options", [("--to", "vtt", "-o", "x.vtt"), ("--to", "elan"), ("--to", "elan", "-o", "t.txt")])
def test_only_documents_link_videos(affcli, table, options):
    status, _, err = affcli("export", table, "--videos", table.parent, *options)
    assert (status, err.count("\n")) == (2, 1)
    assert "--videos goes with --to elan -o FILE.eaf" in err


def test_tabs_newlines_and_markup_in_names_do_no_harm(tmp_path, affcli):
    name, label = "a\tb\nc<d>", "x\ty\n& <z> \x01\ufffe"
    pd.DataFrame({"video": [name], "frame": 1, "time_s": 0.0, "label": [label]}).to_parquet(tmp_path / "F.parquet")
    lines = affcli("export", tmp_path / "F.parquet", "--to", "elan")[1].split("\n")
    assert [line.count("\t") for line in lines] == [4, 4, 0]
    assert lines[1].startswith("expression@a b c<d>\t00:00:00.000\t00:00:00.040\t00:00:00.040\tx y & <z>")
    affcli("export", tmp_path / "F.parquet", "--to", "elan", "-o", tmp_path / "v.eaf")
    assert Eaf(str(tmp_path / "v.eaf")).get_annotation_data_for_tier("expression")[0][2] == "x\ty\n& <z> \ufffd\ufffd"


def test_tab_delimited_lines_name_tier_and_video(affcli, table):
    lines = affcli("export", table, "--to", "elan")[1].splitlines()
    assert lines[0] == "Tier\tBegin Time\tEnd Time\tDuration\tAnnotation"
    assert lines[2] == "expression@clip\t00:00:00.300\t00:00:00.400\t00:00:00.100\tNeutral"
    assert lines[-1] == "no face@clip\t00:00:00.800\t00:00:00.900\t00:00:00.100\tno face"


# --- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["segments", "vtt", "srt", "elan"])
def test_an_empty_table_is_named(tmp_path, affcli, form):
    write_ours(tmp_path / "F.parquet", timed(a=[1]).iloc[:0])
    status, out, err = affcli("export", tmp_path / "F.parquet", "--to", form)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "has no rows, so there is nothing to export" in err


def test_times_that_go_back_are_named(tmp_path, affcli):
    timed(a=[1, 1, 1]).assign(time_s=[0.0, 0.2, 0.1]).to_parquet(tmp_path / "F.parquet")
    err = affcli("export", tmp_path / "F.parquet", "--to", "vtt")[2]
    assert "video 'a': time_s of frame 3 is less than that of the one before" in err


def test_options_of_segments_go_with_no_other_form(affcli, table):
    assert affcli("export", table, "--to", "csv", "--min-seconds", 1)[0] == 2


def test_confidence_is_of_softmaxes_unless_the_table_holds_probabilities(tmp_path, affcli):
    logits = pd.DataFrame({"video": "v", "frame": [1, 2], "joy": [2.0, 1.0], "rage": [0.0, 0.5]})
    for name, table in (("F.csv", logits), ("P.csv", logits.assign(joy=[0.7, 0.9], rage=[0.3, 0.1]))):
        table.to_csv(tmp_path / name, index=False)
    found = [
        float(affcli("export", tmp_path / name, "--to", "segments", "--classes", "joy,rage")[1].split(",")[-1])
        for name in ("F.csv", "P.csv")
    ]
    assert found == pytest.approx([(1 / (1 + math.exp(-2)) + 1 / (1 + math.exp(-0.5))) / 2, 0.8])
