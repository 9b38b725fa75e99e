"""What limits leave counts as free memory, not what the machine has."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from affcli.files import free_memory


def limited(group: Path, limit: str, used: int, cached: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon {used - cached}\nfile {cached}\ninactive_file {cached}\n")


def test_free_memory_is_the_least_that_the_system_and_the_groups_around_the_process_leave(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/other\n0::/a/b\n")
    limited(tmp_path / "root" / "a", "5000", used=3000, cached=700)
    limited(tmp_path / "root" / "a" / "b", "max", used=2000, cached=0)
    assert free_memory._group_room(tmp_path / "root", own) == 2700  # what is used counts, cached files do not
    limited(tmp_path / "root" / "a" / "b", "1500", used=2000, cached=0)
    assert free_memory._group_room(tmp_path / "root", own) == 0
    assert free_memory._group_room(tmp_path / "root", tmp_path / "absent") is None
    assert 0 < free_memory.free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_limits_of_the_first_kind_of_groups_count_too(tmp_path: Path) -> None:
    """As in a container, whose path is the machine's while only its own group is to be seen."""
    own, top = tmp_path / "own", tmp_path / "root" / "memory"
    own.write_text("5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n")
    top.mkdir(parents=True)
    (top / "memory.limit_in_bytes").write_text("5000\n")
    (top / "memory.usage_in_bytes").write_text("3000\n")
    (top / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 700\n")
    assert free_memory._group_room(tmp_path / "root", own) == 2700
    (top / "docker/x").mkdir(parents=True)
    for name in ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"):
        (top / "docker/x" / name).write_text((top / name).read_text())
    (top / "docker/x/memory.limit_in_bytes").write_text("4000\n")
    assert free_memory._group_room(tmp_path / "root", own) == 1700


def test_a_limit_on_the_address_space_counts_too() -> None:
    program = "from affcli.files.free_memory import free_memory; print(free_memory())"
    limit = 2 << 30
    done = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        check=True,
    )
    assert 0 < int(done.stdout) < limit
