"""Runs commands of affcli one after the other in this process; started by judge.py, which tells what each ended in.

A job is a line of JSON on the first descriptor that it is given: arguments, the file for standard input, the files for
both outputs. The answer is one on the second: exit status, seconds of CPU, and by how many bytes the peak of memory was
above what was in use before.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import sys
import time
from pathlib import Path
from typing import Any

from affcli.jobs import workers

BEAT_S = 0.1  # in place of 5: a claim of which nobody knows whose it is is waited for over 12 of them
ADDRESS_SPACE = 8 << 30  # far above any bound: keeps a fault from taking the machine down


def refuse(*_: object, **__: object) -> None:
    raise OSError("no network in the campaign")


def resident(key: str) -> int:
    """`VmRSS` or `VmHWM` (its peak) in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:")), 0)


def forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def run(job: dict[str, Any]) -> dict[str, Any]:
    from affcli import cli

    streams = [os.open(job["stdin"] or os.devnull, os.O_RDONLY)]
    streams += [os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("stdout", "stderr")]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as Python starts with
    sys.stdout, sys.stderr = (open(n, "w", closefd=False, errors="backslashreplace") for n in (1, 2))  # noqa: SIM115
    gc.collect()
    gc.freeze()  # what is there now need not be looked at again each time
    forget_peak()
    before, began_s = resident("VmRSS"), time.process_time()
    status: Any = None
    try:
        cli.main(job["arguments"])
    except SystemExit as ended:
        status = ended.code
    except BaseException as error:  # what no command may let through
        status = f"raised {type(error).__name__}"
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return {"status": status, "cpu_s": time.process_time() - began_s, "bytes": resident("VmHWM") - before}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    socket.socket.connect = socket.socket.connect_ex = refuse  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = refuse  # type: ignore[assignment]
    workers.BEAT_S = BEAT_S
    with os.fdopen(int(sys.argv[1])) as jobs, os.fdopen(int(sys.argv[2]), "w") as answers:
        for line in jobs:
            print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
