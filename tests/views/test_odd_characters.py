"""Ids with control characters, markup and line ends: every format stays one that its readers read."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from xml.dom import minidom

import pandas as pd
import pytest
from helpers.frame_tables import call

EVIL = "a\x00b\x07\x1b[31m\ufffe\x9b<svg onload=x>&\"'\n\t,;=+@"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe]")


@pytest.fixture
def affcli(capsys):
    """Runs a command in this process: (exit status, standard output, standard error)."""
    return functools.partial(call, capsys)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    columns = {"video": [EVIL] * 3, "frame": [1, 2, 3], "time_s": [0.0, 0.04, 0.08]}
    pd.DataFrame({**columns, "Anger\x1b\n": [1.0, 2.0, 0.0], "<b>": [0.0, 1.0, 2.0]}).to_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize(("form", "name"), [("elan", "o.eaf"), ("elan", "o.txt"), ("vtt", "o.vtt")])
def test_exports_hold_no_control_characters(tmp_path: Path, affcli, table: Path, form: str, name: str) -> None:
    status, _, err = affcli("export", table, "--to", form, "-o", tmp_path / name)
    assert status == 0, err
    text = (tmp_path / name).read_text()
    assert not CONTROL.search(text)
    if name == "o.eaf":
        assert minidom.parseString(text).documentElement.tagName == "ANNOTATION_DOCUMENT"
    if name == "o.txt":
        assert {line.count("\t") for line in text.splitlines()} == {4}


def test_the_page_and_pictures_hold_none(tmp_path: Path, affcli, table: Path) -> None:
    pytest.importorskip("matplotlib")
    assert affcli("plot", table, "-o", tmp_path / "p.svg")[0] == 0
    assert minidom.parse(str(tmp_path / "p.svg")).documentElement.tagName == "svg"
    assert affcli("report", table, "-o", tmp_path / "r.html", "--title", EVIL)[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert not CONTROL.search(page)
    assert "<svg onload" not in page


def test_a_submission_refuses_ids_that_would_break_its_lines(tmp_path: Path, affcli, table: Path) -> None:
    eight = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
    pd.DataFrame({"video": ["a,b"], "frame": [1], **{name: [0.5 * len(name)] for name in eight}}).to_csv(
        tmp_path / "s.csv", index=False
    )
    status, out, err = affcli("export", tmp_path / "s.csv", "--to", "abaw", "-o", "-")
    assert (status, out) == (1, "")
    assert "'a,b/00001.jpg' cannot stand in a submission" in err
