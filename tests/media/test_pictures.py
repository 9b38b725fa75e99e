"""Pictures: which formats are opened, what becomes of deep and float ones, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affcli.errors import PictureError
from affcli.media import pictures
from affcli.media.pictures import open_picture, read_picture


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("a.png", np.array([[0, 257], [65_535, 25_700]], np.uint16), [[0, 1], [255, 100]]),
        ("a.tif", np.array([[0, 257], [65_535, 25_700]], np.int32), [[0, 1], [255, 100]]),
        ("f.tif", np.array([[0.0, 0.2], [1.0, 0.5]], np.float32), [[0, 51], [255, 128]]),
        ("8.png", np.array([[0, 1], [255, 100]], np.uint8), [[0, 1], [255, 100]]),
    ],
)
def test_grey_values_are_scaled_by_the_range_of_their_type(
    tmp_path: Path, name: str, values: np.ndarray, shown: list[list[int]]
) -> None:
    Image.fromarray(values).save(tmp_path / name)
    assert open_picture(tmp_path / name).tolist() == [[[value] * 3 for value in row] for row in shown]


def test_values_without_a_known_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 300.0]], np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(PictureError, match="grey values from 0 to 300; only those from 0 to 1 are read"):
        open_picture(tmp_path / "f.tif")


def test_no_program_is_started_for_a_postscript_file_named_as_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "bin" / "gs"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    head = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    (tmp_path / "00001.jpg").write_text(head + "0 0 8 8 rectfill showpage\n%%EOF\n")
    with pytest.raises(PictureError, match="no picture in a format that is read"):
        open_picture(tmp_path / "00001.jpg")
    assert not (tmp_path / "started").exists()


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1000)
    with pytest.raises(PictureError, match="40 × 30 pixels, more than 1,000"):
        open_picture(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "AVIF"])
def test_a_damaged_picture_is_none_whatever_its_decoder_raises(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(tmp_path / "a", kind)
    content = (tmp_path / "a").read_bytes()
    for _ in range(60):
        damaged = bytearray(content[: random.integers(1, len(content))])
        for at in random.integers(0, len(damaged), 8):
            damaged[at] = random.integers(0, 256)
        (tmp_path / "b").write_bytes(damaged)
        found = read_picture(tmp_path / "b")
        assert found is None or found.ndim == 3
