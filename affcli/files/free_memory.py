"""How much memory this process can still have: the system's, and what limits leave of it."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def free_memory() -> int:
    """Bytes that can be had without swapping: what the system has, or what limits leave this process or its group."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known = (_meminfo_available(), _group_room(), _address_space(), physical)
    return min(size for size in known if size is not None)


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _address_space() -> int | None:
    """What `ulimit -v` leaves."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return limit
    return max(0, limit - used)


def _group_room(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """What Linux's limits (cgroup) on this process's group and those around it leave, the least of them, in bytes.

    Cached files that nobody works on count as free: the system drops them before it refuses memory.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    rooms = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root  # cgroup v1 has a tree for each controller
        inside = top / path.strip("/")
        rooms += [_room_in(group) for group in (inside, *inside.parents) if group.is_relative_to(top)]
    return min((room for room in rooms if room is not None), default=None)


def _room_in(group: Path) -> int | None:
    """The bytes that one group's limit leaves; None where it has none."""
    for limit_file, used_file, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # v1; a huge number for none
    ):
        try:
            limit = (group / limit_file).read_text().strip()
            used = int((group / used_file).read_text())
            statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        return max(0, int(limit) - used + int(statistics.get(cached, 0))) if limit.isdigit() else None
    return None
