"""`affcli info` on models, tables of ours and tables of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.feature_tables import write_visual
from helpers.frame_tables import call
from helpers.runners import Affcli

from affcli.models.fusion.model_file import ModelCard, save_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork
from affcli.schema import CLASSES, SUMMARY, with_metadata
from affcli.views.summary import summary_schema


def test_a_model_shows_its_card(tmp_path: Path, affcli: Affcli) -> None:
    network = FusionNetwork(FusionConfig(4, 3, window=8, dim=8, layers=1, heads=2))
    encoders = {"visual": {"name": "beit", "size": 4}, "audio": {"size": 3}}
    save_model(str(tmp_path / "m.safetensors"), network.state_dict(), ModelCard(network.config, 4, encoders))
    shown = affcli("info", "m.safetensors").stdout
    assert "kind: fusion model\n" in shown
    assert "    name: beit\n" in shown
    assert "classes: Neutral, Anger," in shown
    facts = json.loads(affcli("info", "m.safetensors", "--json").stdout)
    assert facts["parameters"] == sum(p.numel() for p in network.state_dict().values())
    assert facts["config"]["window"] == 8


def test_a_table_shows_kind_rows_videos_and_encoder(tmp_path: Path, affcli: Affcli) -> None:
    inputs = {f"v{i}": "0" for i in range(9)}
    write_visual(tmp_path / "V.parquet", {"a": np.ones((3, 2)), "b": np.ones((2, 2))}, inputs=inputs)
    shown = affcli("info", "V.parquet").stdout
    for line in ("kind: visual features", "rows: 5", "videos: 2", "  name: toy", "  … and 5 more"):
        assert f"{line}\n" in shown
    assert json.loads(affcli("info", "V.parquet", "--json").stdout)["inputs"] == inputs


def test_other_files_are_said_to_be_others(tmp_path: Path, affcli: Affcli) -> None:
    pq.write_table(pa.table({"video": ["a", "a"], "x": [1.0, 2.0]}), tmp_path / "foreign.parquet")
    shown = affcli("info", "foreign.parquet").stdout
    assert "kind: table without affcli metadata\n" in shown
    assert "  x: double\n" in shown
    [line] = affcli("info", "nowhere", status=1).stderr.splitlines()
    assert "nowhere" in line
    (tmp_path / "junk").write_bytes(b"\0" * 8 + b"{")
    assert "not a safetensors file" in affcli("info", "junk", status=1).stderr


def test_a_calibration_shows_its_offsets_and_other_json_is_refused(tmp_path: Path, affcli: Affcli) -> None:
    found = {"kind": "calibration", "version": 1, "space": "logits", "offsets": {"Fear": 0.5}, "gain_ci": None}
    (tmp_path / "cal.json").write_text(json.dumps(found, indent=1))
    shown = affcli("info", "cal.json").stdout
    for line in ("kind: calibration", "offsets:", "  Fear: 0.5", "gain_ci: none"):
        assert f"{line}\n" in shown
    assert json.loads(affcli("info", "cal.json", "--json").stdout) == {"file": "cal.json", **found}
    for other in ('{"epoch": 1}\n{"epoch": 2}\n', "[1]", '{"kind": "calibration", "version": 2}'):
        (tmp_path / "other.json").write_text(other)
        [line] = affcli("info", "other.json", status=1).stderr.splitlines()
        assert "other.json: is JSON, but no calibration; not a model or table of affcli" in line


def test_escapes_in_names_do_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07\x1b[31mred\u202e\x9b"
    frames = pa.table({"video": [evil, evil], "frame": [1, 2], "A": [0.0, 2.0], "B": [1.0, 0.0]})
    schema = with_metadata(frames.schema, kind="frame logits", inputs={evil: "\x1b[2J"})
    pq.write_table(frames.cast(schema), tmp_path / "t.parquet")
    for arguments in (("info",), ("info", "--json")):
        status, out, err = call(capsys, *arguments, tmp_path / "t.parquet")
        assert (status, err) == (0, "")
        assert all(one.isprintable() for line in out.splitlines() for one in line)
    assert json.loads(out)["inputs"] == {evil: "\x1b[2J"}


def test_mini_shows_the_three_networks_that_ship(affcli: Affcli) -> None:
    facts = json.loads(affcli("info", "mini", "--json").stdout)
    assert [facts[part]["kind"] for part in ("visual", "audio", "fusion")] == [
        "visual encoder",
        "audio encoder",
        "fusion model",
    ]
    assert facts["fusion"]["parameters"] > 0
    assert "visual:\n  architecture: " in affcli("info", "mini").stdout


def test_a_folder_of_tables_is_described_as_one(tmp_path: Path, affcli: Affcli) -> None:
    (tmp_path / "t").mkdir()
    for video in ("a", "b"):
        write_visual(tmp_path / f"t/{video}.parquet", {video: np.ones((3, 2))})
    shown = affcli("info", "t").stdout
    for line in ("kind: folder of tables", "tables: 2", "rows: 6", "videos: 2"):
        assert f"{line}\n" in shown
    (tmp_path / "empty").mkdir()
    assert (
        "is no encoder that affcli train-visual or train-audio made, and holds no tables"
        in affcli("info", "empty", status=1).stderr
    )


def test_a_label_folder_counts_what_is_done_and_failed(tmp_path: Path, affcli: Affcli) -> None:
    (tmp_path / "out").mkdir()
    schema = summary_schema()
    known = {"video": "a", "frames": 50, "duration_s": 2.0, "Anger_s": 1.5, "unsure_s": 0.5}
    rows = [known, {**known, "video": "b", "problem": "half of it"}, {"video": "c", "frames": 0, "problem": "no media"}]
    facts = {"inputs": {"a": "1", "b": "2"}, "failed": {"c": None}, "incomplete": {"b": "half of it"}}
    described = with_metadata(schema, kind=SUMMARY, classes=list(CLASSES), window=64, **facts)
    pq.write_table(pa.Table.from_pylist(rows, described), tmp_path / "out/summary.parquet")
    found = json.loads(affcli("info", "out", "--json").stdout)
    counts = {name: found[name] for name in ("state", "inputs", "done", "failed", "incomplete", "videos", "frames")}
    assert counts == {
        "state": "complete",
        "inputs": 3,
        "done": 2,
        "failed": {"c": "no media"},
        "incomplete": {"b": "half of it"},
        "videos": 2,
        "frames": 100,
    }
    assert (found["seconds"]["Anger"], found["seconds"]["unsure"], found["seconds"]["Fear"]) == (3.0, 1.0, None)
    assert "  c: no media\n" in affcli("info", "out").stdout
