"""Tables under names that are no UTF-8, and tables whose own metadata are damaged."""

from __future__ import annotations

import functools
import json
import os
import re
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.frame_tables import call, predictions, write_labels, write_ours

from affcli.schema import METADATA_KEY


@pytest.fixture
def affcli(capsys):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    return functools.partial(call, capsys)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("smoothed", 3),
        ("smoothed", [3]),
        ("classes", 3),
        ("classes", [1, 2]),
        ("classes", []),
        ("classes", ["A", "A"]),
        ("space", ["logits"]),
        ("min_confidence", "x"),
        ("min_confidence", float("inf")),
        ("min_confidence", True),
        ("min_speech", -4),
        ("window", 2.5),
        ("inputs", 7),
        ("starts_s", "soon"),
    ],
)
@pytest.mark.parametrize("command", ["smooth", "vote"])
def test_a_fact_of_another_kind_is_damage_and_is_named(tmp_path, affcli, command, fact, value):
    file = write_ours(tmp_path / "t.parquet", predictions(a=[0, 1, 2]))
    table = pq.read_table(file)
    facts = {**json.loads(table.schema.metadata[METADATA_KEY]), fact: value}
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(facts).encode()}), file)
    status, out, err = affcli(command, file, "-o", tmp_path / "o.parquet")
    assert (status, out) == (1, "")
    assert f"{file}: damaged: its metadata's '{fact}' is " in err
    assert not (tmp_path / "o.parquet").exists()


def test_tables_and_labels_under_any_bytes_are_read(tmp_path, affcli):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffad"))
    odd.mkdir()
    table = write_ours(tmp_path / "t.parquet", predictions(a=[0, 1, 2])).rename(odd / os.fsdecode(b"t\xfe.parquet"))
    assert affcli("smooth", table, "-k", "1", "-o", odd / os.fsdecode(b"o\xfe.parquet")) == (0, "", "")
    status, out, _ = affcli(
        "score", odd / os.fsdecode(b"o\xfe.parquet"), "--labels", write_labels(odd / "l", a=[0, 1, 2])
    )
    assert status == 0
    assert re.search(r"accuracy +1\.0000", out)
    status, _, err = affcli("report", odd, "-o", tmp_path / "r.html")
    assert status == 0, err
    assert "b\ufffdad" in (tmp_path / "r.html").read_text()


DECOMPOSED = unicodedata.normalize("NFD", "Müller")  # as macOS spells file names


@pytest.mark.parametrize(("table_id", "label_id"), [("Müller", DECOMPOSED), (DECOMPOSED, "Müller")])
def test_ids_that_differ_only_in_how_unicode_spells_them_are_one(tmp_path, affcli, table_id, label_id):
    frames = write_ours(tmp_path / "t.parquet", predictions(**{table_id: [0, 1, 2]}))
    folder = write_labels(tmp_path / "l", **{label_id: [0, 1, 2]})
    listed = tmp_path / "l.csv"
    listed.write_text("video,frame,label\n" + "".join(f"{label_id},{i + 1},{i}\n" for i in range(3)))
    for labels in (folder, listed):
        status, out, err = affcli("score", frames, "--labels", labels, "--bootstrap", "0")
        assert (status, "ignored" in err) == (0, False), err
        assert re.search(r"accuracy +1\.0000", out)
    assert affcli("vote", frames, "-o", tmp_path / "o.parquet")[0] == 0
    assert set(pq.read_table(tmp_path / "o.parquet")["video"].to_pylist()) == {"Müller"}


def test_a_label_tables_two_spellings_of_an_id_are_labels_of_one_video(tmp_path, affcli):
    frames = write_ours(tmp_path / "t.parquet", predictions(Müller=[0, 1, 2, 3]))
    labels = tmp_path / "l.csv"
    ids = ["Müller", DECOMPOSED, "Müller", DECOMPOSED]
    labels.write_text("video,frame,label\n" + "".join(f"{name},{i + 1},{i}\n" for i, name in enumerate(ids)))
    status, out, _ = affcli("score", frames, "--labels", labels, "--bootstrap", "0")
    assert (status, out.startswith("4 frames of 1 video")) == (0, True)


def test_a_table_without_ids_takes_its_id_from_any_name(tmp_path, affcli):
    file = tmp_path / os.fsdecode(b"cl\xffip.parquet")
    pq.write_table(pa.table({"frame": [1, 2], "A": [0.0, 1.0], "B": [1.0, 0.0]}), tmp_path / "t")
    (tmp_path / "t").rename(file)
    status, _, err = affcli("smooth", file, "-k", "1", "-o", tmp_path / "o.parquet")
    assert status == 0, err
    assert pq.read_table(tmp_path / "o.parquet").column("video").unique().to_pylist() == ["cl\\xffip"]


@pytest.mark.parametrize("offset", [10**20, -(10**20), 2**63 - 1])
def test_an_offset_beyond_every_frame_is_wrong_usage(tmp_path, affcli, offset):
    table = write_ours(tmp_path / "t.parquet", predictions(a=[0, 1, 2]))
    labels = write_labels(tmp_path / "l", a=[0, 1, 2])
    for option in ("--frame-offset", "--label-frame-offset"):
        status, _, err = affcli("score", table, "--labels", labels, option, offset)
        assert (status, "beyond every frame number" in err) == (2, True)


def test_an_id_as_long_as_a_path_is_one_and_a_longer_one_is_refused(tmp_path, affcli):
    table = tmp_path / "t.csv"
    for length, expected in ((4096, 0), (4097, 1)):
        table.write_text(f"video,frame,Anger,Fear\n{'é' * length},1,0.5,0.25\n")
        status, _, err = affcli("vote", table, "-o", tmp_path / f"{length}.csv")
        assert status == expected
    assert f"{table}: column 'video' holds 4,097 characters, too many for the id of a video.\n" in err
