"""The entry point of the benchmarks works: on small tables, beside whichever peers are installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers.shown_commands import ROOT


def test_the_quick_mode_measures_a_task_beside_its_peers_and_they_agree(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests/benchmarks/run.py"), "--quick", "--only", "score", "-o", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads((tmp_path / "results.json").read_text())
    assert [row["tool"] for row in found["peers"]][:2] == ["affcli", "pandas"]
    assert all(row["same"] and row["cpu_s"] > 0 and row["wall_ratio"] > 0 for row in found["peers"])
    assert "| score, 5,000 rows | pandas" in (tmp_path / "results.md").read_text()
