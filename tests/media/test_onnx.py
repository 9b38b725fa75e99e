"""onnxruntime tells nobody about its use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_nothing_is_kept_in_the_users_folders(tmp_path: Path) -> None:
    """There its telemetry keeps what it is going to send."""
    (tmp_path / "home").mkdir()
    program = """
from affcli.media.faces import FaceDetector
from affcli.media.speech import SpeechDetector
import numpy
FaceDetector(threads=1).detect(numpy.zeros((64, 64, 3), numpy.uint8))
SpeechDetector().probabilities(numpy.zeros(16_000, numpy.float32))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    environment["HOME"] = str(tmp_path / "home")
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    assert list((tmp_path / "home").rglob("*")) == []
